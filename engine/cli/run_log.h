// What a training run tells of itself on standard output: sentences for people, or for machines a JSON object a line:
//
//   {"event": "start", "parameters": N, "tokens": N, "steps": N, "batch": N, "length": N, "ranks": N, "threads": N, "memory_bytes": N}
//   {"event": "preparation", "done": N, "of": N}   before the first step, where preferences are learnt: pairs of rank 0 whose answers are judged
//   {"event": "step", "step": N, "steps": N, "loss": X, "learning_rate": X, "gradient_norm": X, "tokens_per_s": X,
//    "seconds_left": X, "targets": N, "skipped": false, "skipped_steps": N, "checkpoint_wait_s": X}
//   {"event": "evaluation", "step": N, "loss": X, "perplexity": X}
//      where preferences are learnt, both with "accuracy": X, "margin": X, "chosen_reward": X, "rejected_reward": X after the loss, no
//      perplexity, and in "targets" the pairs
//   {"event": "checkpoint", "step": N, "name": "step-00000100"}
//   {"event": "rollback", "from_step": N, "to_step": N, "loss": X, "median": X}
//   {"event": "note", "text": "…"}          any other sentence
//
// A number that is not finite is null. Regular expressions of a job's MetricDefinitions read either:
//
//   ^step \S+  loss ([0-9.]+)         "event": "step", .*"loss": ([0-9.e+-]+)
//   ^evaluation loss ([0-9.]+)        "event": "evaluation", .*"loss": ([0-9.e+-]+)
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "engine/train/trainer.h"

namespace athanor::llm {

enum class LogFormat { kText, kJson };

// Throws kInvalid for anything but "text" and "json".
LogFormat log_format(std::string_view name);

// What "start" tells; for people, sentences do.
struct RunSizes {
  std::int64_t parameters = 0;
  std::int64_t tokens = 0;  // of the text to train on
  std::int64_t steps = 0;
  std::int64_t batch = 0;
  std::int64_t length = 0;
  int ranks = 1;
  int threads = 1;  // of each
  std::uint64_t memory_bytes = 0;
};

// The lines, without their ends; empty when this format has none for it.
std::string start_line(LogFormat format, const RunSizes& sizes);
std::string preparation_line(LogFormat format, const train::Preparation& preparation);
std::string step_line(LogFormat format, const train::Progress& progress);
// For show_status(): as much as `width` columns hold, the step before all.
std::string status_line(const train::Progress& progress, std::size_t width);
std::string evaluation_line(LogFormat format, const train::Evaluation& evaluation);
std::string checkpoint_line(LogFormat format, const std::string& name, std::int64_t step);
std::string rollback_line(LogFormat format, const train::Rollback& rollback);
std::string note_line(LogFormat format, std::string_view text);

// Writes a line at once; nothing when it is empty.
void write_line(const std::string& line);

// Says anything else.
template <typename... Args>
void note(LogFormat to, fmt::format_string<Args...> format, Args&&... args) {
  write_line(note_line(to, fmt::format(format, std::forward<Args>(args)...)));
}

}  // namespace athanor::llm
