// All that a training run can be told, as one table: a line of it is an option of `athanor-llm pretrain`, `finetune` and `dpo`
// (--hidden-size) and a hyperparameter of a training job (hidden_size), with one default for each task, one help text and
// one way to be wrong.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/json.h"
#include "engine/model/config.h"
#include "engine/train/dpo.h"
#include "engine/train/options.h"

namespace athanor::llm {

enum class Task { kPretrain, kFinetune, kDpo };
// "pretrain", "finetune" and "dpo". Throws kInvalid for anything else.
Task task_of(std::string_view name);
// Whether a model that there is goes on learning.
inline bool tunes(Task task) { return task != Task::kPretrain; }

struct TrainSettings {
  std::string task = "pretrain";

  // The model. 0 stands for what the others suggest, see model_config().
  std::int64_t vocabulary = 4096;
  std::int64_t layers = 4;
  std::int64_t hidden_size = 256;
  std::int64_t intermediate_size = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  double rope_theta = 10000;
  bool tied = true;

  train::TrainOptions train;  // its length may be 0 where a model goes on learning: what suits it
  train::DpoOptions dpo;
  double epochs = 0;  // above 0: instead of train.steps
  double memory = 0;  // GiB; 0: what is free

  double held_out = 0.02;
  std::string prompt;
  std::int64_t sample_tokens = 100;
  double temperature = 0.8;
  std::string log = "text";  // or "json"
  std::int64_t log_every = 10;
  std::int64_t threads = 0;
};

// What suits a task where nothing is said.
TrainSettings default_settings(Task task);

// Groups of settings that not all have a use for: what shapes a model made from nothing; adapters; preferences; what is held out
// and how often it is evaluated; lines of progress; the text written at the end.
inline constexpr const char* kModelGroup = "Model";
inline constexpr const char* kAdaptersGroup = "Adapters";
inline constexpr const char* kPreferencesGroup = "Preferences";
inline constexpr const char* kEvaluationGroup = "Evaluation";
inline constexpr const char* kProgressGroup = "Progress";
inline constexpr const char* kSampleGroup = "Sample";

struct Setting {
  std::string name;  // "hidden_size"
  std::string group;
  std::string help;  // with the unit, and what 0 means
  std::variant<std::int64_t*, std::uint64_t*, double*, bool*, std::string*> value;
};

// The table; it points into `settings`.
std::vector<Setting> table_of(TrainSettings& settings);

// "INTEGER", "NUMBER", "true|false", "TEXT"
std::string type_name(const Setting& setting);
std::string value_text(const Setting& setting);

// Sets one from text. `source` is how the user wrote it ("--hidden-size", "hyperparameter hidden_size"). Throws kInvalid.
void set(const Setting& setting, std::string_view text, std::string_view source);

// Sets everything that a job's hyperparameters name. Throws kInvalid for a name that is none, with the nearest that is.
void apply_hyperparameters(const std::vector<Setting>& table, const json::object& hyperparameters);

// The candidate with the fewest edits from `name`; empty when none is near enough to be meant.
std::string nearest(std::string_view name, const std::vector<std::string>& candidates);

// Of the settings `given` by name, takes epochs instead of the default steps or the reverse. Throws kInvalid where two
// contradict each other: both of these, the shape of a model and a model that has one, how adapters are and none of them, or a setting
// and a task that has no use for it.
void settle(TrainSettings& settings, const std::vector<std::string>& given, bool model_given);

// Throws kInvalid, naming the setting, for what cannot be trained.
void check(const TrainSettings& settings);

// The decoder for a tokenizer of `vocabulary` tokens. Throws kInvalid for impossible shapes.
model::Config model_config(const TrainSettings& settings, std::int64_t vocabulary);

}  // namespace athanor::llm
