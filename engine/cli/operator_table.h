// Where the time of a training step goes: its operators against what this machine could do at best. The limit of an operator is
// the roofline (Williams et al. 2009): its floating-point operations at the rate of large matrix products, or its bytes at the
// triad's, whichever takes longer; the fraction is that time over the time that it took.
#pragma once

#include <span>
#include <string>

#include "common/json.h"
#include "engine/tensor/operator_times.h"

namespace athanor::llm {

struct MachineRates {
  double product_flops = 0;  // a second
  double triad_bytes = 0;    // a second
};

struct OperatorTable {
  std::span<const tensor::OperatorTime> operators;  // summed over the steps
  double steps = 1;
  double step_s = 0;  // of one, the mean
  MachineRates rates;

  // For people: the operator that takes longest first, what no operator has last.
  std::string text() const;
  // For programs: likewise, each a step's {name, calls, bytes, flops, seconds, share, rate, unit, roofline_fraction}.
  json::array lines() const;
};

}  // namespace athanor::llm
