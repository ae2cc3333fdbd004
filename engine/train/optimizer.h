// What turns gradients into new parameters, and the state that it keeps to do so. By name (TrainOptions::optimizer):
//
//   adamw    tensor/adamw.h; two moments in float32: 8 bytes a parameter
//   adamw8   tensor/adamw8.h; the moments in 8 bits: a little over 2 bytes a parameter
//   muon     tensor/muon.h for the matrices of the layers, with one momentum in float32 (4 bytes); AdamW for the rest
//
// Each decays matrices only. The same numbers on every rank, and for any number of threads.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/model/flat_parameters.h"
#include "engine/tensor/context.h"
#include "engine/tensor/memory_plan.h"
#include "engine/train/options.h"
#include "engine/train/train_tensors.h"

namespace athanor::train {

struct Update {
  std::int64_t number = 1;    // of updates, from 1
  double rate = 0;            // the learning rate
  double gradient_scale = 1;  // what gradients are multiplied by
};

// Uses its state once the plan is allocated. One thread.
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  // The state before the first update.
  virtual void clear(tensor::Context& context) = 0;
  // Changes the parameters' masters by their gradients.
  virtual void update(tensor::Context& context, const Update& how) = 0;
  virtual void add_state(TrainTensors& into) const = 0;
};

// Plans its state. `parameters` have gradients and masters; they, the options and the plan outlive it. Throws kInvalid for
// a name that is none of the above.
std::unique_ptr<Optimizer> plan_optimizer(const TrainOptions& options, const model::FlatParameters& parameters,
                                          tensor::MemoryPlan& plan);

// Whether Muon updates it: the matrices of the layers, which lie between the embedding and the last norm.
bool by_muon(const model::ParameterInfo& info);

// Throws kInvalid for a name that is none of the above.
void check_optimizer(const std::string& name);

}  // namespace athanor::train
