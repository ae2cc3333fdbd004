#include "engine/train/options.h"

#include <cmath>
#include <string_view>

#include "common/error.h"
#include "engine/train/optimizer.h"

namespace athanor::train {

namespace {

constexpr std::int64_t kMax = 1LL << 40;
constexpr std::int64_t kBatchMax = 1LL << 32, kLengthMax = 1 << 24;  // so that the tokens of a step can be counted

void require(bool holds, std::string_view option, double value, std::string_view rule) {
  if (!holds) throw Error(ErrorKind::kInvalid, "Training option {} is {}; it must be {}", option, value, rule);
}

}  // namespace

void check(const TrainOptions& o) {
  const auto count = [](std::string_view name, std::int64_t value, std::int64_t least, std::int64_t most = kMax) {
    require(value >= least, name, static_cast<double>(value),
            least == 0 ? "0 or a positive number" : "a positive number");
    require(value <= most, name, static_cast<double>(value), fmt::format("at most {}", most));
  };
  count("steps", o.steps, 1);
  count("batch", o.batch, 1, kBatchMax);
  count("micro_batch", o.micro_batch, 1, kBatchMax);
  count("length", o.length, 1, kLengthMax);
  count("warmup_steps", o.warmup_steps, 0);
  count("decay_steps", o.decay_steps, 0);
  count("non_finite_steps_max", o.non_finite_steps_max, 0);
  count("spike_rollbacks_max", o.spike_rollbacks_max, 1);
  count("evaluate_every", o.evaluate_every, 0);
  count("evaluate_sequences", o.evaluate_sequences, 0);
  count("checkpoint_every", o.checkpoint_every, 0);
  count("checkpoints_kept", o.checkpoints_kept, 1);
  schedule_kind(o.schedule);
  dtype_of(o.dtype);
  count("lora_rank", o.lora_rank, 0);
  if (const auto lora = lora_of(o)) {
    check(*lora);
    if (base_type_of(o) == model::BaseType::kFloat32 && o.dtype != "float32") {
      throw Error(ErrorKind::kInvalid,
                  "Training option base_dtype is float32; with dtype {} it must be bfloat16, q8_0 or q4_0", o.dtype);
    }
  }
  const auto recompute = recompute_of(o.recompute);
  require(o.recompute_layers == 0 || (o.recompute_layers > 0 && recompute && *recompute != model::Recompute::kLittle),
          "recompute_layers", o.recompute_layers, "positive and with recompute gate_up or layer, or 0");
  check_optimizer(o.optimizer);
  if (o.lora_rank > 0 && o.optimizer == "muon") {
    throw Error(ErrorKind::kInvalid,
                "Training option optimizer is muon, which is for a model's own matrices; with lora_rank they are "
                "frozen, and it must be adamw or adamw8");
  }
  require(o.spike_factor == 0 || (o.spike_factor > 1 && std::isfinite(o.spike_factor)), "spike_factor", o.spike_factor,
          "0 (never) or above 1");
  require(o.spike_factor == 0 || o.checkpoint_every > 0, "checkpoint_every", 0,
          "positive for spike_factor to have checkpoints to go back to");
  require(o.learning_rate > 0 && std::isfinite(o.learning_rate), "learning_rate", o.learning_rate, "positive");
  require(o.learning_rate_min == -1 || (o.learning_rate_min >= 0 && o.learning_rate_min <= o.learning_rate),
          "learning_rate_min", o.learning_rate_min, "between 0 and learning_rate, or -1 (a tenth of learning_rate)");
  require(o.beta1 >= 0 && o.beta1 < 1, "beta1", o.beta1, "at least 0 and less than 1");
  require(o.beta2 >= 0 && o.beta2 < 1, "beta2", o.beta2, "at least 0 and less than 1");
  require(o.muon_momentum >= 0 && o.muon_momentum < 1, "muon_momentum", o.muon_momentum, "at least 0 and less than 1");
  require(o.adam_eps > 0 && o.adam_eps < 1, "adam_eps", o.adam_eps, "between 0 and 1");
  require(o.weight_decay >= 0 && o.weight_decay * o.learning_rate < 1, "weight_decay", o.weight_decay,
          "at least 0, and less than one over learning_rate");
  require(o.z_loss >= 0 && o.z_loss <= 1, "z_loss", o.z_loss, "between 0 (none) and 1; 1e-4 is usual");
  require(o.gradient_clip >= 0 && std::isfinite(o.gradient_clip), "gradient_clip", o.gradient_clip,
          "0 (none) or positive");
}

std::optional<model::LoraOptions> lora_of(const TrainOptions& options) {
  if (options.lora_rank == 0) return {};
  return model::LoraOptions{.rank = options.lora_rank,
                            .alpha = options.lora_alpha,
                            .dropout = options.lora_dropout,
                            .targets = model::lora_targets_from(options.lora_layers)};
}

model::BaseType base_type_of(const TrainOptions& options) {
  return model::base_type_from(options.base_dtype == "auto" ? options.dtype : options.base_dtype);
}

tensor::DType dtype_of(const std::string& name) {
  for (const tensor::DType type : {tensor::DType::kFloat32, tensor::DType::kBFloat16}) {
    if (name == name_of(type)) return type;
  }
  throw Error(ErrorKind::kInvalid, "Training option dtype is {}; it must be float32 or bfloat16", name);
}

std::optional<model::Recompute> recompute_of(const std::string& name) {
  if (name == "auto") return {};
  for (const auto recompute : {model::Recompute::kLittle, model::Recompute::kGateUp, model::Recompute::kLayer}) {
    if (name == name_of(recompute)) return recompute;
  }
  throw Error(ErrorKind::kInvalid, "Training option recompute is {}; it must be auto, little, gate_up or layer", name);
}

double learning_rate_at(const TrainOptions& o, std::int64_t step) {
  return learning_rate_at(Schedule{.kind = schedule_kind(o.schedule),
                                   .peak = o.learning_rate,
                                   .end = o.learning_rate_min == -1 ? o.learning_rate / 10 : o.learning_rate_min,
                                   .steps = o.steps,
                                   .warmup_steps = o.warmup_steps,
                                   .decay_steps = o.decay_steps},
                          step);
}

}  // namespace athanor::train
