// Training: the loop, and the memory that it runs in.
//
//   LanguageModeling objective(sequences, options);   // or another (objective.h)
//   Trainer trainer(config, options, context, collectives, objective, files, clock);   // plans and allocates
//   if (!trainer.resume()) { trainer.initialize(); … or fill trainer.parameters() on every rank … }
//   const auto outcome = trainer.run(stop, events);
//
// Every rank does the same, with the same options. All references must outlive the trainer. One thread, but for `stop`.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/files.h"
#include "engine/model/config.h"
#include "engine/model/decoder.h"
#include "engine/model/parameters.h"
#include "engine/parallel/collectives.h"
#include "engine/tensor/context.h"
#include "engine/tensor/memory_plan.h"
#include "engine/train/checkpoint.h"
#include "engine/train/checkpoint_writer.h"
#include "engine/train/objective.h"
#include "engine/train/optimizer.h"
#include "engine/train/options.h"
#include "engine/train/trained_model.h"

namespace athanor::train {

// How a model judges pairs of answers, in the mean (dpo.h).
struct Preferences {
  double chosen_reward = 0;
  double rejected_reward = 0;
  double accuracy = 0;  // the part of the pairs of which it prefers the chosen answer
  double margin() const { return chosen_reward - rejected_reward; }
};

// What the objective has to know of the model before the first step (objective.h).
struct Preparation {
  std::int64_t done = 0;  // examples of this rank
  std::int64_t of = 0;
};

struct Progress {
  std::int64_t step = 0;  // just done
  std::int64_t steps = 0;
  double loss =
      0;  // mean over the step's targets (of pairs: over the pairs), over all ranks, in nats; may not be finite
  std::optional<Preferences> preferences;  // where they are what is learnt
  double learning_rate = 0;
  double gradient_norm = 0;  // before clipping; may not be finite
  double tokens_per_s = 0;   // over all ranks, over the last steps
  double seconds_left = 0;
  std::int64_t targets = 0;        // of the step, over all ranks; or pairs
  std::int64_t skipped_steps = 0;  // so far: those whose loss or gradient was not finite
  bool skipped = false;            // this was one
  double checkpoint_wait_s = 0;    // how long steps have waited for checkpoints, since the run went on
};

struct Evaluation {
  std::int64_t step = 0;
  std::int64_t targets = 0;  // over all ranks; or pairs. With none, the rest says nothing
  double loss = 0;
  std::optional<Preferences> preferences;
};

// A loss spike that the run went back for.
struct Rollback {
  std::int64_t from_step = 0;  // the spike's
  std::int64_t to_step = 0;    // the checkpoint's
  double loss = 0;
  double median = 0;  // of the losses before
};

// Called on the trainer's thread, on every rank. Any may be empty.
struct Events {
  std::function<void(const Preparation&)> on_preparation;
  std::function<void(const Progress&)> on_step;
  std::function<void(const Evaluation&)> on_evaluation;
  // The folder's name below checkpoint_folder, once it is durable, which may be some steps after `step`. Rank 0 only.
  std::function<void(const std::string& name, std::int64_t step)> on_checkpoint;
  std::function<void(const Rollback&)> on_rollback;
};

enum class Outcome {
  kFinished,
  // `stop` was set on some rank: all stopped after the same step, with a checkpoint if there is a folder. A step or an evaluation
  // that is not computed yet is given up between two micro-batches: it may take longer than the platform waits.
  kStopped,
};

class Trainer {
 public:
  // `text` is what the objective's examples come from, for the checkpoints to tell: only rank 0's matters. Throws kInvalid for options
  // or shapes, kExhausted when the memory does not suffice.
  Trainer(const model::Config& config, const TrainOptions& options, tensor::Context& context,
          parallel::Collectives& collectives, Objective& objective, Files& files, const Clock& clock,
          TrainText text = {});

  const tensor::MemoryPlan& memory() const { return plan_; }
  const model::DecoderSizes& sizes() const { return decoder_.sizes(); }  // with the recomputation that was chosen
  TrainedModel& model() { return model_; }
  // Of a model that is trained whole.
  model::Parameters& parameters();
  const TrainState& state() const { return state_; }

  // New parameters from the seed.
  void initialize();
  // Those of a checkpoint, of the same config. Adapters are new.
  void load_model(model::ModelSource& source);
  // Goes on from the newest whole checkpoint that rank 0 has; false when it has none. Frozen weights are in none: load_model()
  // comes first.
  bool resume();

  // Until options.steps are done. Before the first, the objective learns what it needs of the model as it is: stopped in there, a run
  // has no checkpoint. `stop` may be set from another thread or a signal handler. Checkpoints are written beside
  // the steps; what goes wrong with one is thrown by a later step, and the last is whole when this returns. Throws kInvalid
  // when too many steps in a row have a loss or gradient that is not finite.
  Outcome run(const std::atomic<bool>& stop, const Events& events);

  // The mean over held-out examples, shared over the ranks; of a run that has begun. No targets when there are none. Nothing
  // on every rank when one of them gave it up because `stop` was set.
  std::optional<Evaluation> evaluate(const std::atomic<bool>& stop);

 private:
  struct StepResult {
    double loss = 0;
    std::optional<Preferences> preferences;
    double gradient_norm = 0;
    double learning_rate = 0;
    std::int64_t targets = 0;
    std::int64_t tokens = 0;
    bool stop = false;      // some rank wanted to
    bool given_up = false;  // and before it was done with its share: nothing was updated, the rest says nothing
    bool skipped = false;   // something was not finite: no update
    bool spike = false;     // no update, and the step is not done
  };
  // What ranks sum of their shares.
  struct Sums {
    Cost cost;
    bool stop = false;
    bool given_up = false;
  };
  StepResult step(const std::atomic<bool>& stop);
  // Over all ranks; with one rank the sums are its own, to the last bit. `nominal` terms are about as many as there are.
  Sums summed(const Sums& mine, std::int64_t nominal);
  std::optional<Preferences> preferences_of(const Cost& all) const;
  void skip(const StepResult& result);
  void save(const Events& events);
  // Ends a run before its end: nobody leaves before the checkpoint is whole.
  Outcome leave(const Events& events);
  bool can_roll_back() const;
  void roll_back(double loss, const Events& events);
  // Takes parameters, the optimizer's state and the run's from the newest checkpoint that rank 0 has; false when it has none.
  bool load();
  void report(const Events& events, const std::optional<CheckpointWriter::Finished>& written) const;
  TrainTensors tensors();

  const model::Config config_;
  const TrainOptions options_;
  const TrainInput input_;
  tensor::Context& context_;
  parallel::Collectives& collectives_;
  Objective& objective_;
  Files& files_;
  const Clock& clock_;

  const std::uint64_t memory_limit_bytes_;  // what was free to begin with, unless the options say
  tensor::MemoryPlan plan_;
  TrainedModel model_;
  model::Decoder decoder_;
  std::unique_ptr<Optimizer> optimizer_;
  bool prepared_ = false;  // the objective
  TrainState state_;
  std::int64_t saved_step_ = -1;  // of the newest checkpoint
  std::int64_t rollbacks_to_it_ = 0;
  double checkpoint_wait_s_ = 0;
  std::unique_ptr<CheckpointWriter> writer_;  // of rank 0, with a folder
};

}  // namespace athanor::train
