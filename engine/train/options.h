// What a training run can be told. Everything that changes the numbers is here and in model::Config; the number of
// ranks and of threads is not, because it changes them by rounding only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/model/adapters.h"
#include "engine/model/base.h"
#include "engine/model/decoder.h"
#include "engine/tensor/tensor.h"
#include "engine/train/schedule.h"

namespace athanor::train {

struct TrainOptions {
  std::int64_t steps = 100;
  std::int64_t batch = 16;       // sequences (or pairs, see objective.h) in a step, over all ranks
  std::int64_t micro_batch = 8;  // those that a rank computes at once; the rest of its share accumulates
  std::int64_t length = 256;     // tokens in a sequence

  // What parameters, activations and their gradients are stored in: float32 or bfloat16. Sums are float32's always, and what
  // is trained has float32's digits (tensor/masters.h).
  std::string dtype = "float32";

  // Above 0: the model is frozen, and adapters of this rank are trained on its linear layers (model/linear.h).
  std::int64_t lora_rank = 0;
  double lora_alpha = 32;  // adapters are weighted by alpha / rank
  double lora_dropout = 0;
  std::string lora_layers = "q,k,v,o,gate,up,down";
  std::string base_dtype = "auto";  // what the frozen weights are kept in: float32, bfloat16, q8_0 or q4_0; auto: dtype

  std::string optimizer = "adamw";  // optimizer.h names and explains them
  std::string schedule = "cosine";  // schedule.h names and explains them
  double learning_rate = 1e-3;      // the peak
  double learning_rate_min = -1;    // where the schedule ends; -1: a tenth of the peak
  std::int64_t warmup_steps = 10;
  std::int64_t decay_steps = 0;  // of the schedule wsd; 0: a fifth of the steps
  double beta1 = 0.9;
  double beta2 = 0.95;
  double adam_eps = 1e-8;
  double muon_momentum = 0.95;
  double weight_decay = 0.1;   // of matrices
  double gradient_clip = 1.0;  // the largest global norm; 0 for none

  // Above 0: adds so many times the squared logarithm of softmax's normaliser to each target's loss (tensor/cross_entropy.h).
  double z_loss = 0;

  // A step whose loss or gradient is not finite changes nothing but its number. More than so many in a row end the run.
  std::int64_t non_finite_steps_max = 10;
  // A step whose loss is above so many times the median of the last ones is a spike: training goes back to the newest
  // checkpoint, and on with the data after the spike's. 0: never.
  double spike_factor = 0;
  // So often from one checkpoint; the spike after that is gone through.
  std::int64_t spike_rollbacks_max = 3;

  std::int64_t evaluate_every = 0;  // steps; 0 for only when asked
  std::int64_t evaluate_sequences = 32;

  std::int64_t checkpoint_every = 0;  // steps; 0 for only when stopped
  std::string checkpoint_folder;      // empty: none are written
  std::int64_t checkpoints_kept = 2;
  // With checkpoint_every: plan room for a copy of the state, used when a checkpoint is not written before the next update.
  // Without it that update waits.
  bool checkpoint_room = true;

  std::uint64_t seed = 1;  // of the initial parameters

  std::uint64_t memory_limit_bytes = 0;  // 0: what the machine has free
  // What the backward pass computes again: little, gate_up or layer (model::Recompute); auto: the least that fits. The
  // numbers do not depend on it.
  std::string recompute = "auto";
  std::int64_t recompute_layers = 0;  // of so many layers, of the others what is next less; 0: of all. Not with auto
};

// Throws kInvalid, naming the option.
void check(const TrainOptions& options);

// float32 or bfloat16, by its name. Throws kInvalid for another.
tensor::DType dtype_of(const std::string& name);

// The adapters to train; nothing when the whole model is.
std::optional<model::LoraOptions> lora_of(const TrainOptions& options);
model::BaseType base_type_of(const TrainOptions& options);

// By its name; nothing for "auto". Throws kInvalid for another.
std::optional<model::Recompute> recompute_of(const std::string& name);

// The rate at a step, from 1.
double learning_rate_at(const TrainOptions& options, std::int64_t step);

}  // namespace athanor::train
