#include "engine/cli/settings.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <type_traits>
#include <utility>

#include "common/error.h"
#include "engine/cli/run_log.h"
#include "engine/tensor/context.h"

namespace athanor::llm {

namespace {

// Levenshtein's distance, with a swap of neighbours as one edit.
std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = std::exchange(last, row);
  }
  return last[b.size()];
}

template <typename Number>
bool parse_number(std::string_view text, Number& into) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), into);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
}

std::int64_t round_up(double value, std::int64_t to) {
  return static_cast<std::int64_t>(std::ceil(value / static_cast<double>(to))) * to;
}

}  // namespace

Task task_of(std::string_view name) {
  if (name == "pretrain") return Task::kPretrain;
  if (name == "finetune") return Task::kFinetune;
  if (name == "dpo") return Task::kDpo;
  throw Error(
      ErrorKind::kInvalid,
      "task is \"{}\"; it must be pretrain (a model from nothing), finetune (a model goes on learning) or dpo (it "
      "learns which answers are better)",
      name);
}

TrainSettings default_settings(Task task) {
  TrainSettings settings;
  if (task == Task::kPretrain) return settings;
  settings.task = "finetune";
  settings.train.steps = 0;
  settings.epochs = 3;
  settings.train.batch = 8;
  settings.train.micro_batch = 2;
  settings.train.length = 0;
  settings.train.learning_rate = 2e-5;
  settings.train.weight_decay = 0;
  settings.held_out = 0.05;
  if (task == Task::kFinetune) return settings;
  settings.task = "dpo";
  settings.epochs = 1;
  settings.train.micro_batch = 1;  // a pair, two rows
  settings.train.learning_rate = 1e-6;
  return settings;
}

std::vector<Setting> table_of(TrainSettings& s) {
  train::TrainOptions& t = s.train;
  const char *model = kModelGroup, *batches = "Batches", *lora = kAdaptersGroup, *optimizer = "Optimizer", *run = "Run",
             *evaluation = kEvaluationGroup, *progress = kProgressGroup, *sample = kSampleGroup,
             *preferences = kPreferencesGroup;
  return {
      {"vocabulary", model, "Tokens of the tokenizer that is trained on the text (257 or more)", &s.vocabulary},
      {"layers", model, "Decoder blocks", &s.layers},
      {"hidden_size", model, "Width of the residual stream", &s.hidden_size},
      {"intermediate_size", model, "Width inside the feed-forward part; 0: 8/3 of hidden_size, rounded up to 64",
       &s.intermediate_size},
      {"heads", model, "Attention heads; 0: one for each 64 of hidden_size", &s.heads},
      {"kv_heads", model, "Heads of keys and values, a divisor of heads; 0: as many as heads", &s.kv_heads},
      {"head_dim", model, "Width of a head; 0: hidden_size / heads", &s.head_dim},
      {"rope_theta", model, "Base of the rotary position embedding", &s.rope_theta},
      {"tied", model, "The head is the embedding", &s.tied},
      {"steps", batches, "Optimizer steps; 0: as epochs says", &t.steps},
      {"epochs", batches, "Times through the data, instead of steps; 0: as steps says", &s.epochs},
      {"batch", batches, "Sequences in a step, or pairs of answers, over all instances", &t.batch},
      {"micro_batch", batches, "Sequences or pairs that an instance computes at once; fewer need less memory",
       &t.micro_batch},
      {"length", batches,
       "Tokens in a sequence, and the context of a new model; 0, where a model goes on learning: its context, 512 at "
       "most",
       &t.length},
      {"dtype", batches,
       "What parameters and activations are stored in: float32 or bfloat16 (half the memory; sums, and what is "
       "trained, stay float32)",
       &t.dtype},
      {"recompute", batches,
       "What the backward pass computes again to save memory: little, gate_up, layer (the most), or auto: the least "
       "that fits",
       &t.recompute},
      {"recompute_layers", batches,
       "In so many layers, in the others what is next less; 0: in all. With recompute gate_up or layer",
       &t.recompute_layers},
      {"memory", batches, "GiB of memory that an instance may take; 0: what is free", &s.memory},
      {"lora_rank", lora,
       "Freezes the model and trains adapters of this rank on its linear layers; 0: trains all of it", &t.lora_rank},
      {"lora_alpha", lora, "Adapters are weighted by lora_alpha / lora_rank", &t.lora_alpha},
      {"lora_dropout", lora, "Part of an adapter's input that is dropped in training", &t.lora_dropout},
      {"lora_layers", lora, "Which layers have adapters: some of q,k,v,o,gate,up,down", &t.lora_layers},
      {"base_dtype", lora,
       "What frozen weights are kept in: float32, bfloat16, q8_0 or q4_0 (8 or 4 bits); auto: dtype", &t.base_dtype},
      {"optimizer", optimizer,
       "adamw, adamw8 (its moments in 8 bits) or muon (for the layers' matrices; AdamW for the rest)", &t.optimizer},
      {"learning_rate", optimizer, "Peak of the learning rate", &t.learning_rate},
      {"schedule", optimizer, "What the learning rate does after its peak: cosine, linear, wsd or constant",
       &t.schedule},
      {"learning_rate_min", optimizer, "Where the schedule ends, at the last step; -1: a tenth of learning_rate",
       &t.learning_rate_min},
      {"warmup_steps", optimizer, "Steps in which the learning rate rises to its peak", &t.warmup_steps},
      {"decay_steps", optimizer, "Steps of the fall at the end of wsd; 0: a fifth of the steps", &t.decay_steps},
      {"weight_decay", optimizer, "Decay of matrices", &t.weight_decay},
      {"beta1", optimizer, "AdamW's decay of the first moment", &t.beta1},
      {"beta2", optimizer, "AdamW's decay of the second moment", &t.beta2},
      {"adam_eps", optimizer, "AdamW's epsilon", &t.adam_eps},
      {"muon_momentum", optimizer, "Muon's momentum", &t.muon_momentum},
      {"gradient_clip", optimizer, "Largest norm of the gradient; 0: none", &t.gradient_clip},
      {"z_loss", optimizer, "Coefficient of z-loss, which keeps softmax's normaliser near 1; 0: none, 1e-4 is usual",
       &t.z_loss},
      {"beta", preferences, "How dear it is to move away from the model as it was: larger values stay nearer",
       &s.dpo.beta},
      {"label_smoothing", preferences, "Part of the pairs whose labels are taken to be wrong (from 0, below 0.5)",
       &s.dpo.label_smoothing},
      {"held_out", evaluation, "Part of the data kept for evaluation when none is given for it (0 to 0.5)",
       &s.held_out},
      {"evaluate_every", evaluation, "Steps between evaluations; 0: before and after only", &t.evaluate_every},
      {"evaluate_sequences", evaluation, "Held-out sequences or pairs of an evaluation, at most; 0: no evaluation",
       &t.evaluate_sequences},
      {"task", run,
       "What is made: pretrain (a model from nothing), finetune (a model goes on learning) or dpo (it learns which "
       "answers are better)",
       &s.task},
      {"checkpoint_every", run, "Steps between checkpoints; 0: at the end and when stopped", &t.checkpoint_every},
      {"checkpoints_kept", run, "Checkpoints kept, the newest", &t.checkpoints_kept},
      {"checkpoint_room", run,
       "With checkpoint_every: plan memory to copy what is not written when the next update comes; false: it waits",
       &t.checkpoint_room},
      {"non_finite_steps_max", run,
       "Steps in a row without a finite loss and gradient, which are skipped; more end the run",
       &t.non_finite_steps_max},
      {"spike_factor", run,
       "A loss above so many times the median of the last ones (16 at least) goes back to the last checkpoint, and on "
       "with later data; 0: never",
       &t.spike_factor},
      {"spike_rollbacks_max", run, "Times that a run goes back to one checkpoint", &t.spike_rollbacks_max},
      {"seed", run, "Of the initial parameters and the order of the text", &t.seed},
      {"threads", run, "Threads that compute; 0: one for each processor", &s.threads},
      {"log", progress, "Lines of progress for people (text), or for machines (json)", &s.log},
      {"log_every", progress, "Steps between lines of progress; after a minute without one the next step has one",
       &s.log_every},
      {"prompt", sample, "What the text written at the end begins with", &s.prompt},
      {"sample_tokens", sample, "Tokens of the text written at the end; 0: none", &s.sample_tokens},
      {"temperature", sample, "Of the text written at the end; 0: always the likeliest token", &s.temperature},
  };
}

std::string type_name(const Setting& setting) {
  return std::visit(
      [](const auto* value) -> std::string {
        using Value = std::remove_const_t<std::remove_pointer_t<decltype(value)>>;
        if constexpr (std::is_same_v<Value, bool>) {
          return "true|false";
        } else if constexpr (std::is_same_v<Value, double>) {
          return "NUMBER";
        } else if constexpr (std::is_same_v<Value, std::string>) {
          return "TEXT";
        } else {
          return "INTEGER";
        }
      },
      setting.value);
}

std::string value_text(const Setting& setting) {
  return std::visit([](const auto* value) { return fmt::format("{}", *value); }, setting.value);
}

void set(const Setting& setting, std::string_view text, std::string_view source) {
  const auto refuse = [&](std::string_view rule) {
    throw Error(ErrorKind::kInvalid, "{} is \"{}\"; it must be {}", source, text, rule);
  };
  std::visit(
      [&](auto* value) {
        using Value = std::remove_pointer_t<decltype(value)>;
        if constexpr (std::is_same_v<Value, std::string>) {
          *value = text;
        } else if constexpr (std::is_same_v<Value, bool>) {
          if (text == "true" || text == "True" || text == "1") {
            *value = true;
          } else if (text == "false" || text == "False" || text == "0") {
            *value = false;
          } else {
            refuse("true or false");
          }
        } else if constexpr (std::is_same_v<Value, double>) {
          if (!parse_number(text, *value) || !std::isfinite(*value)) refuse("a number");
        } else {
          if (!parse_number(text, *value)) {
            refuse(std::is_unsigned_v<Value> ? "a whole number, 0 or more" : "a whole number");
          }
        }
      },
      setting.value);
}

std::string nearest(std::string_view name, const std::vector<std::string>& candidates) {
  std::size_t fewest = std::max<std::size_t>(2, name.size() / 3);
  std::string best;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edits(name, candidate);
    if (distance < fewest || (distance == fewest && best.empty())) {
      fewest = distance;
      best = candidate;
    }
  }
  if (!best.empty()) return best;
  // "num_layers" and "hidden" are far by edits, and yet what is meant is plain.
  for (const std::string& candidate : candidates) {
    if (name.size() >= 4 && (candidate.find(name) != candidate.npos || name.find(candidate) != name.npos)) {
      return candidate;
    }
  }
  return {};
}

void apply_hyperparameters(const std::vector<Setting>& table, const json::object& hyperparameters) {
  std::vector<std::string> names;
  for (const Setting& setting : table) names.push_back(setting.name);
  for (const auto& [key, value] : hyperparameters) {
    const std::string name(key);
    // SageMaker's SDKs put values of their own beside the user's.
    if (name.starts_with("sagemaker_")) continue;
    const auto found =
        std::find_if(table.begin(), table.end(), [&](const Setting& setting) { return setting.name == name; });
    if (found == table.end()) {
      const std::string meant = nearest(name, names);
      throw Error(ErrorKind::kInvalid, "There is no hyperparameter \"{}\". {}", name,
                  meant.empty() ? fmt::format("There are: {}", fmt::join(names, ", "))
                                : fmt::format("Did you mean \"{}\"?", meant));
    }
    std::string text = value.is_string() ? std::string(value.get_string()) : json::serialize(value);
    // Some SDKs send every value as JSON: a text then comes with quotes of its own.
    if (std::holds_alternative<std::string*>(found->value) && text.size() >= 2 && text.front() == '"' &&
        text.back() == '"') {
      text = std::string(json::parse(text, "hyperparameter " + name).as_string());
    }
    set(*found, text, fmt::format("Hyperparameter {}", name));
  }
}

void settle(TrainSettings& s, const std::vector<std::string>& given, bool model_given) {
  const auto says = [&](std::string_view name) { return std::find(given.begin(), given.end(), name) != given.end(); };
  if (s.epochs > 0 && s.train.steps != 0) {
    if (says("epochs") && says("steps")) {
      throw Error(ErrorKind::kInvalid, "steps is {} and epochs is {}: give one of them", s.train.steps, s.epochs);
    }
    if (says("steps")) {
      s.epochs = 0;
    } else {
      s.train.steps = 0;
    }
  }
  const Task task = task_of(s.task);
  const bool has_shape = model_given || tunes(task);
  for (const Setting& setting : table_of(s)) {
    if (!says(setting.name)) continue;
    if (setting.group == kPreferencesGroup && task != Task::kDpo) {
      throw Error(ErrorKind::kInvalid,
                  "{} is given, and the task is {}, which learns no preferences: leave {} out, or use dpo",
                  setting.name, s.task, setting.name);
    }
    if (setting.group == kAdaptersGroup && s.train.lora_rank == 0 && setting.name != "lora_rank") {
      throw Error(
          ErrorKind::kInvalid,
          "{} is given, and lora_rank is 0, so there are no adapters and nothing is frozen: give lora_rank, or leave "
          "{} out",
          setting.name, setting.name);
    }
    const bool learns_tokenizer = setting.name == "vocabulary" && !tunes(task);
    if (setting.group == kModelGroup && has_shape && !learns_tokenizer) {
      throw Error(ErrorKind::kInvalid, "{} is given, and so is a model, which has a shape of its own: leave {} out",
                  setting.name, setting.name);
    }
  }
  if (task == Task::kDpo && s.train.z_loss != 0) {
    throw Error(ErrorKind::kInvalid, "z_loss is {}, and dpo learns preferences without it: leave z_loss out",
                s.train.z_loss);
  }
}

void check(const TrainSettings& s) {
  const auto require = [](bool holds, std::string_view name, auto value, std::string_view rule) {
    if (!holds) throw Error(ErrorKind::kInvalid, "{} is {}; it must be {}", name, value, rule);
  };
  const bool goes_on = tunes(task_of(s.task));
  require(s.epochs >= 0 && s.epochs <= 1e6, "epochs", s.epochs, "between 0 and 1000000");
  train::TrainOptions told = s.train;
  if (s.epochs > 0) told.steps = 1;                  // the data will tell
  if (goes_on && told.length == 0) told.length = 1;  // the model will tell
  train::check(told);
  train::check(s.dpo);
  require(s.vocabulary >= 257 && s.vocabulary <= 1 << 22, "vocabulary", s.vocabulary,
          "between 257 (the bytes, and the end of a text) and 4194304");
  require(s.held_out >= 0 && s.held_out <= 0.5, "held_out", s.held_out, "between 0 and 0.5");
  require(s.memory >= 0, "memory", s.memory, "0 (what is free) or a number of GiB");
  log_format(s.log);
  require(s.log_every >= 1, "log_every", s.log_every, "1 or more");
  require(s.threads >= 0 && s.threads <= tensor::Context::kThreadsMax, "threads", s.threads,
          fmt::format("between 0 and {}", tensor::Context::kThreadsMax));
  require(s.sample_tokens >= 0, "sample_tokens", s.sample_tokens, "0 or more");
  require(s.temperature >= 0 && s.temperature <= 100, "temperature", s.temperature, "between 0 and 100");
  if (!goes_on) model_config(s, s.vocabulary);
}

model::Config model_config(const TrainSettings& s, std::int64_t vocabulary) {
  for (const auto& [name, value] : {std::pair{"layers", s.layers}, {"hidden_size", s.hidden_size}}) {
    if (value < 1) throw Error(ErrorKind::kInvalid, "{} is {}; it must be 1 or more", name, value);
  }
  for (const auto& [name, value] : {std::pair{"intermediate_size", s.intermediate_size},
                                    {"heads", s.heads},
                                    {"kv_heads", s.kv_heads},
                                    {"head_dim", s.head_dim}}) {
    if (value < 0) throw Error(ErrorKind::kInvalid, "{} is {}; it must be 0 (chosen by us) or more", name, value);
  }
  const std::int64_t heads = s.heads ? s.heads : std::max<std::int64_t>(1, s.hidden_size / 64);
  if (s.head_dim == 0 && s.hidden_size % heads != 0) {
    throw Error(ErrorKind::kInvalid, "hidden_size ({}) is not a multiple of heads ({}): change one, or give head_dim",
                s.hidden_size, heads);
  }
  const model::Config config{
      .vocab_size = vocabulary,
      .hidden_size = s.hidden_size,
      .intermediate_size =
          s.intermediate_size ? s.intermediate_size : round_up(static_cast<double>(s.hidden_size) * 8 / 3, 64),
      .num_hidden_layers = s.layers,
      .num_attention_heads = heads,
      .num_key_value_heads = s.kv_heads ? s.kv_heads : heads,
      .head_dim = s.head_dim ? s.head_dim : s.hidden_size / heads,
      .max_position_embeddings = s.train.length,
      .rope_theta = s.rope_theta,
      .tie_word_embeddings = s.tied,
  };
  model::check(config);
  return config;
}

}  // namespace athanor::llm
