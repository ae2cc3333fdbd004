// Training: the loop, and the memory that it runs in.
//
//   Trainer trainer(config, options, context, collectives, sequences, files, clock);   // plans and allocates
//   if (!trainer.resume()) { trainer.initialize(); … or fill trainer.parameters() on every rank … }
//   const auto outcome = trainer.run(stop, events);
//
// Every rank does the same, with the same options. All references must outlive the trainer. One thread, but for `stop`.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/files.h"
#include "engine/data/sequences.h"
#include "engine/model/config.h"
#include "engine/model/decoder.h"
#include "engine/model/parameters.h"
#include "engine/parallel/collectives.h"
#include "engine/tensor/context.h"
#include "engine/tensor/memory_plan.h"
#include "engine/train/checkpoint.h"
#include "engine/train/options.h"

namespace athanor::train {

struct Progress {
  std::int64_t step = 0;  // just done
  std::int64_t steps = 0;
  double loss = 0;  // mean over the step's tokens, over all ranks, in nats
  double learning_rate = 0;
  double gradient_norm = 0;  // before clipping
  double tokens_per_s = 0;   // over all ranks, over the last steps
  double seconds_left = 0;
};

// Called on the trainer's thread, on every rank. Any may be empty.
struct Events {
  std::function<void(const Progress&)> on_step;
  std::function<void(std::int64_t step, double loss)> on_evaluation;
  // The folder's name below checkpoint_folder, once it is durable. Rank 0 only.
  std::function<void(const std::string& name, std::int64_t step)> on_checkpoint;
};

enum class Outcome {
  kFinished,
  // `stop` was set on some rank: all stopped after the same step, with a checkpoint if there is a folder. A step that is
  // not computed yet is given up between two micro-batches: it may take longer than the platform waits.
  kStopped,
};

class Trainer {
 public:
  // `text` is what `sequences` come from, for the checkpoints to tell: only rank 0's matters. Throws kInvalid for options
  // or shapes, kExhausted when the memory does not suffice.
  Trainer(const model::Config& config, const TrainOptions& options, tensor::Context& context,
          parallel::Collectives& collectives, data::Sequences& sequences, Files& files, const Clock& clock,
          TrainText text = {});

  const tensor::MemoryPlan& memory() const { return plan_; }
  model::Parameters& parameters() { return parameters_; }
  const TrainState& state() const { return state_; }

  // New parameters from the seed.
  void initialize();
  // Goes on from the newest whole checkpoint that rank 0 has; false when it has none.
  bool resume();

  // Until options.steps are done. `stop` may be set from another thread or a signal handler.
  Outcome run(const std::atomic<bool>& stop, const Events& events);

  // Mean loss on held-out text, shared over the ranks. 0 when there is none.
  double evaluate();

 private:
  struct StepResult {
    double loss = 0;
    double gradient_norm = 0;
    double learning_rate = 0;
    bool stop = false;  // some rank wanted to
    bool given_up = false;  // and before it was done with its share: nothing was updated, the rest says nothing
  };
  // Consecutive parameters with the same decay.
  struct Segment {
    std::int64_t begin, end;
    bool decays;
  };
  StepResult step(const std::atomic<bool>& stop);
  void update(double learning_rate, double gradient_scale);
  // Copies a text of length + 1 tokens from row_ into the batch.
  void place(std::int64_t into);
  void save(const Events& events);
  TrainTensors tensors() const { return {parameters_.values(), *m_, *v_}; }

  const model::Config config_;
  const TrainOptions options_;
  const TrainInput input_;
  tensor::Context& context_;
  parallel::Collectives& collectives_;
  data::Sequences& sequences_;
  Files& files_;
  const Clock& clock_;

  tensor::MemoryPlan plan_;
  model::Parameters parameters_;
  model::Decoder decoder_;
  const tensor::Tensor* m_;        // (size)
  const tensor::Tensor* v_;        // (size)
  const tensor::Tensor* tokens_;   // (micro_batch, length)
  const tensor::Tensor* targets_;  // (micro_batch, length)
  const tensor::Tensor* row_;      // (length + 1)
  std::vector<Segment> segments_;
  TrainState state_;
  std::int64_t saved_step_ = -1;  // of the newest checkpoint
};

}  // namespace athanor::train
