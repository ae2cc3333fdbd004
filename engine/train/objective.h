// What a training run makes small. The trainer (trainer.h) divides a step's examples over ranks and micro-batches and sums;
// an objective knows what an example is, what a micro-batch of them costs, and with what gradient.
//
//   language_modeling.h        examples are sequences of tokens, and the loss is the mean over all targets
//   preference_optimization.h  examples are pairs of answers, and the loss is the mean over all pairs
//
// The trainer's thread calls, on every rank alike.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "engine/model/config.h"
#include "engine/model/decoder.h"
#include "engine/parallel/collectives.h"
#include "engine/tensor/memory_plan.h"
#include "engine/train/dpo.h"
#include "engine/train/train_tensors.h"

namespace athanor::train {

// What examples cost together.
struct Cost {
  double loss = 0;             // summed over
  std::int64_t terms = 0;      // what it is a mean of: targets, or pairs
  std::int64_t tokens = 0;     // that were computed
  PreferenceSums preferences;  // of pairs

  Cost& operator+=(const Cost& other) {
    loss += other.loss;
    terms += other.terms;
    tokens += other.tokens;
    preferences += other.preferences;
    return *this;
  }
};

// Examples [first, first + count) of a step, from 1.
struct MicroBatch {
  std::int64_t step = 1;
  std::int64_t first = 0;
  std::int64_t count = 0;
};

class Objective {
 public:
  virtual ~Objective() = default;

  // Of an example, in the decoder's batch.
  virtual std::int64_t rows() const = 0;
  // Of an example's loss, at most. Gradients are weighted as if all examples had as many; the update makes up for it.
  virtual std::int64_t terms_max() const = 0;
  // Plans its memory for so many examples at once. Called before anything below; again for another plan, which then is its own.
  virtual void plan(const model::Config& config, std::int64_t examples, tensor::MemoryPlan& plan) = 0;

  // Of this rank's examples: how many are done.
  using Prepared = std::function<void(std::int64_t done, std::int64_t of)>;
  // What it has to learn of the model before the first step, at most `examples` at once, each time telling `prepared`; returns
  // false, with nothing learnt, when `stop` was set on some rank.
  virtual bool prepare(model::Decoder& /*decoder*/, std::int64_t /*examples*/, parallel::Collectives& /*collectives*/,
                       const std::atomic<bool>& /*stop*/, const Prepared& /*prepared*/) {
    return true;
  }
  // What of that a checkpoint must keep, and what it must agree in. Before the memory is there, buffers alone.
  virtual void add_state(TrainTensors& /*tensors*/) const {}

  // The cost of a micro-batch; adds its gradient, of the sum of losses times `scale`.
  virtual Cost forward_backward(model::Decoder& decoder, const MicroBatch& batch, float scale,
                                const model::DropoutMasks& masks) = 0;

  // Held-out examples: how many there are, and what some of them cost.
  virtual std::int64_t evaluation_count() = 0;
  virtual Cost evaluate(model::Decoder& decoder, std::int64_t first, std::int64_t count) = 0;
};

}  // namespace athanor::train
