#include "engine/cli/run_log.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "common/counts.h"
#include "common/error.h"
#include "common/json.h"
#include "engine/cli/console.h"

namespace athanor::llm {

namespace {

std::string number(double value) { return std::isfinite(value) ? fmt::format("{:.9g}", value) : "null"; }
std::string quoted(std::string_view text) { return json::serialize(json::value(text)); }

// What stands after the loss where preferences are learnt.
std::string preferences_text(LogFormat format, const std::optional<train::Preferences>& p) {
  if (!p) return {};
  if (format == LogFormat::kJson) {
    return fmt::format(R"(, "accuracy": {}, "margin": {}, "chosen_reward": {}, "rejected_reward": {})",
                       number(p->accuracy), number(p->margin()), number(p->chosen_reward), number(p->rejected_reward));
  }
  return fmt::format("  accuracy {:.4f}  margin {:.6f}  chosen {:.6f}  rejected {:.6f}", p->accuracy, p->margin(),
                     p->chosen_reward, p->rejected_reward);
}

}  // namespace

LogFormat log_format(std::string_view name) {
  if (name == "text") return LogFormat::kText;
  if (name == "json") return LogFormat::kJson;
  throw Error(ErrorKind::kInvalid, "log is \"{}\"; it must be text or json", name);
}

std::string start_line(LogFormat format, const RunSizes& s) {
  if (format == LogFormat::kText) return {};
  return fmt::format(
      R"({{"event": "start", "parameters": {}, "tokens": {}, "steps": {}, "batch": {}, "length": {}, "ranks": {}, )"
      R"("threads": {}, "memory_bytes": {}}})",
      s.parameters, s.tokens, s.steps, s.batch, s.length, s.ranks, s.threads, s.memory_bytes);
}

std::string preparation_line(LogFormat format, const train::Preparation& p) {
  if (format == LogFormat::kJson) {
    return fmt::format(R"({{"event": "preparation", "done": {}, "of": {}}})", p.done, p.of);
  }
  return fmt::format("reference   {} of {} pairs judged by the model as it is", format_count(p.done),
                     format_count(p.of));
}

std::string step_line(LogFormat format, const train::Progress& p) {
  if (format == LogFormat::kJson) {
    return fmt::format(
        R"({{"event": "step", "step": {}, "steps": {}, "loss": {}{}, "learning_rate": {}, "gradient_norm": {}, "tokens_per_s": {}, )"
        R"("seconds_left": {}, "targets": {}, "skipped": {}, "skipped_steps": {}, "checkpoint_wait_s": {}}})",
        p.step, p.steps, number(p.loss), preferences_text(format, p.preferences), number(p.learning_rate),
        number(p.gradient_norm), number(p.tokens_per_s), number(p.seconds_left), p.targets, p.skipped, p.skipped_steps,
        number(p.checkpoint_wait_s));
  }
  if (p.skipped) {
    return fmt::format("step {}/{}  skipped: the loss is {} and the gradient's norm {}; {} skipped so far", p.step,
                       p.steps, p.loss, p.gradient_norm, p.skipped_steps);
  }
  return fmt::format("step {}/{}  loss {:.6f}{}  rate {:.2e}  gradient {:.3f}  {} tokens/s  {} left", p.step, p.steps,
                     p.loss, preferences_text(format, p.preferences), p.learning_rate, p.gradient_norm,
                     format_count(std::llround(p.tokens_per_s)), format_seconds(p.seconds_left));
}

std::string status_line(const train::Progress& p, std::size_t width) {
  std::string line = fmt::format("step {}/{}", p.step, p.steps);
  for (const std::string& more : {fmt::format("loss {:.4f}", p.loss), format_seconds(p.seconds_left) + " left",
                                  format_count(std::llround(p.tokens_per_s)) + " tokens/s"}) {
    if (line.size() + 2 + more.size() <= width) line += "  " + more;
  }
  constexpr std::size_t kAround = 9, kBarMax = 24;  // "[] 100%  "
  if (line.size() + kAround + 4 > width || p.steps <= 0) return line;
  const std::size_t bar = std::min(kBarMax, width - kAround - line.size());
  const auto done = static_cast<std::size_t>(p.step * static_cast<std::int64_t>(bar) / p.steps);
  return fmt::format("[{}{}] {:3}%  {}", std::string(done, '='), std::string(bar - done, ' '), 100 * p.step / p.steps,
                     line);
}

std::string evaluation_line(LogFormat format, const train::Evaluation& e) {
  const std::string preferences = preferences_text(format, e.preferences);
  if (format == LogFormat::kJson) {
    const std::string rest =
        e.preferences ? preferences : fmt::format(R"(, "perplexity": {})", number(std::exp(e.loss)));
    return fmt::format(R"({{"event": "evaluation", "step": {}, "loss": {}{}}})", e.step, number(e.loss), rest);
  }
  if (e.preferences) return fmt::format("evaluation loss {:.6f} at step {}{}", e.loss, e.step, preferences);
  return fmt::format("evaluation loss {:.6f} at step {} (perplexity {:.2f})", e.loss, e.step, std::exp(e.loss));
}

std::string checkpoint_line(LogFormat format, const std::string& name, std::int64_t step) {
  if (format == LogFormat::kJson) {
    return fmt::format(R"({{"event": "checkpoint", "step": {}, "name": {}}})", step, quoted(name));
  }
  return fmt::format("checkpoint {}", name);
}

std::string rollback_line(LogFormat format, const train::Rollback& r) {
  if (format == LogFormat::kJson) {
    return fmt::format(R"({{"event": "rollback", "from_step": {}, "to_step": {}, "loss": {}, "median": {}}})",
                       r.from_step, r.to_step, number(r.loss), number(r.median));
  }
  return fmt::format(
      "step {} has a spike: its loss is {:.6f}, and the median of the last ones {:.6f}; going back to step {}, and "
      "on with the data that comes next",
      r.from_step, r.loss, r.median, r.to_step);
}

std::string note_line(LogFormat format, std::string_view text) {
  if (format == LogFormat::kJson) return fmt::format(R"({{"event": "note", "text": {}}})", quoted(text));
  return std::string(text);
}

void write_line(const std::string& line) {
  if (!line.empty()) say("{}", line);
}

}  // namespace athanor::llm
