// What a training step will take, from the shape of the model and a few rates of the machine, before any step is made.
#pragma once

#include "engine/model/config.h"
#include "engine/model/decoder.h"
#include "engine/model/layout.h"
#include "engine/train/options.h"

namespace athanor::llm {

// What a machine does for long, a second.
struct SustainedRates {
  double products = 0;   // floating-point operations of products of the type that is trained in
  double attention = 0;  // and of products of float32, which attention computes with whatever the type
  double bytes = 0;      // of memory
};

struct StepEstimate {
  double flops = 0;    // over all ranks, with what is computed again
  double seconds = 0;  // of a rank; waiting for the others comes on top
};

// `trained`: the parameters that are; `sizes`: what is computed again; `rows`: of an example (Objective::rows()).
StepEstimate estimate_step(const model::Config& config, const train::TrainOptions& options,
                           const model::Layout& trained, const model::DecoderSizes& sizes, std::int64_t rows, int ranks,
                           const SustainedRates& rates);

}  // namespace athanor::llm
