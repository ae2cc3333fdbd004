#include "platform/cli/watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>
#include <vector>

#include "platform/cli/job_logs.h"
#include "platform/cli/patience.h"

namespace athanor::cli {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kPoll = std::chrono::milliseconds(250);
constexpr auto kPlainProgressEvery = std::chrono::seconds(10);
constexpr std::size_t kBarCells = 40;
constexpr std::size_t kCourseCells = 30;
constexpr std::size_t kLossesMax = 4096;

std::optional<double> number(const json::object& from, const char* key) { return json::find_double(from, key); }

json::object describe_once(Connection& connection, const std::string& name) {
  return patiently([&] { return connection.sagemaker("DescribeTrainingJob", {{"TrainingJobName", name}}); });
}

json::object progress_once(Connection& connection, const std::string& name) {
  const json::object reply = patiently([&] {
    return connection.sagemaker("Athanor.GetProgress", {{"TrainingJobName", name}});
  });
  const json::object* progress = json::find_object(reply, "Progress");
  return progress == nullptr ? json::object() : *progress;
}

// "loss 3.1234   5.3k tokens/s   1 min 20 s left", and whatever other numbers the program sent.
std::vector<std::string> readings(const json::object& progress) {
  static const std::set<std::string, std::less<>> kKnown = {"step", "steps", "loss", "tokens_per_s", "seconds_left"};
  std::vector<std::string> parts;
  if (const auto loss = number(progress, "loss")) parts.push_back(fmt::format("loss {:.4f}", *loss));
  if (const auto speed = number(progress, "tokens_per_s")) parts.push_back(format_count(*speed) + " tokens/s");
  for (const auto& [key, value] : progress) {
    if (parts.size() >= 6 || kKnown.contains(std::string_view(key)) || !value.is_number()) continue;
    parts.push_back(fmt::format("{} {:.6g}", std::string_view(key), value.to_number<double>()));
  }
  if (const auto left = number(progress, "seconds_left")) {
    parts.push_back(format_duration(static_cast<std::int64_t>(*left + 0.5)) + " left");
  }
  return parts;
}

std::string step_text(const json::object& progress) {
  const auto step = number(progress, "step"), steps = number(progress, "steps");
  if (!step) return {};
  return steps ? fmt::format("step {:.0f}/{:.0f}", *step, *steps) : fmt::format("step {:.0f}", *step);
}

// Whether a secondary status comes when the program has printed its last.
bool follows_the_program(std::string_view secondary_status) {
  static const std::set<std::string_view> kBefore = {"Starting",
                                                     "Pending",
                                                     "LaunchingMLInstances",
                                                     "PreparingTrainingStack",
                                                     "Downloading",
                                                     "DownloadingTrainingImage",
                                                     "Training",
                                                     "Restarting",
                                                     "Interrupted",
                                                     "Stopping"};
  return !kBefore.contains(secondary_status);
}

class Watcher {
 public:
  Watcher(const Terminal& out, const std::string& name) : out_(out), block_(out), name_(name) {}

  // `read_lines` is called where the program's lines belong: after what led to them, before how it ended.
  template <typename ReadLines>
  void show(const json::object& description, const json::object& progress, const ReadLines& read_lines) {
    say_transitions(description, false);
    read_lines();
    say_transitions(description, true);
    if (const auto step = number(progress, "step"), loss = number(progress, "loss");
        step && loss && *step != last_step_) {
      last_step_ = *step;
      if (losses_.size() < kLossesMax) losses_.push_back(*loss);
    }
    if (out_.is_terminal()) {
      draw(description, progress);
    } else if (!progress.empty() && Clock::now() >= next_plain_ && number(progress, "step") != said_step_) {
      next_plain_ = Clock::now() + kPlainProgressEvery;
      said_step_ = number(progress, "step");
      out_.line(out_.foreign(fmt::format("{}  {}", step_text(progress), fmt::join(readings(progress), "  "))));
    }
  }

  void say_line(const JobLine& line, bool name_host) {
    block_.erase();
    out_.line(format_job_line(out_, line, name_host));
    next_plain_ = Clock::now() + kPlainProgressEvery;  // it speaks for itself
  }

  void end() { block_.erase(); }

 private:
  // What is new; `to_the_end` also what follows the program.
  void say_transitions(const json::object& description, bool to_the_end) {
    const json::array* transitions = json::find_array(description, "SecondaryStatusTransitions");
    if (transitions == nullptr) return;
    for (; said_ < transitions->size(); ++said_) {
      const json::object& one = (*transitions)[said_].as_object();
      const std::string status = json::get_string(one, "Status");
      if (!to_the_end && follows_the_program(status)) return;
      block_.erase();
      out_.line(fmt::format("{}  {}  {}",
                            out_.paint(Colour::kDim, format_time(number(one, "StartTime").value_or(0)).substr(11)),
                            out_.paint(colour_of_status(status), fmt::format("{:<11}", status)),
                            out_.foreign(json::find_string(one, "StatusMessage").value_or(""))));
    }
  }

  void draw(const json::object& description, const json::object& progress) {
    std::vector<std::string> lines = {""};
    const auto step = number(progress, "step"), steps = number(progress, "steps");
    if (step && steps && *steps > 0) {
      lines.push_back(fmt::format("  {}  {}  {}", format_bar(out_, *step / *steps, kBarCells), step_text(progress),
                                  out_.paint(Colour::kDim, fmt::format("{:.0f}%", 100 * *step / *steps))));
    } else if (step) {
      lines.push_back("  " + step_text(progress));
    }
    if (const auto parts = readings(progress); !parts.empty()) {
      lines.push_back(out_.foreign(fmt::format("  {}", fmt::join(parts, "   "))));
    }
    if (losses_.size() > 2) lines.push_back("  " + format_course(out_, losses_, kCourseCells));
    lines.push_back(out_.paint(Colour::kDim, fmt::format("  {}   {}", name_, time_taken(description))));
    block_.draw(lines);
  }

  const Terminal& out_;
  LiveBlock block_;
  const std::string name_;
  std::size_t said_ = 0;
  std::vector<double> losses_;
  double last_step_ = -1;
  std::optional<double> said_step_;
  Clock::time_point next_plain_ = Clock::now();
};

}  // namespace

double now_s() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

bool is_over(const std::string& status) { return status == "Completed" || status == "Failed" || status == "Stopped"; }

Colour colour_of_status(const std::string& status) {
  if (status == "Completed") return Colour::kGreen;
  if (status == "Failed") return Colour::kRed;
  if (status == "Stopped" || status == "Stopping" || status == "MaxRuntimeExceeded") return Colour::kYellow;
  if (status == "Training" || status == "InProgress") return Colour::kCyan;
  return Colour::kBlue;
}

std::string time_taken(const json::object& description) {
  const double start = number(description, "CreationTime").value_or(now_s());
  const double end =
      is_over(json::get_string(description, "TrainingJobStatus"))
          ? number(description, "TrainingEndTime").value_or(number(description, "LastModifiedTime").value_or(start))
          : now_s();
  return format_duration(static_cast<std::int64_t>(end - start));
}

json::object watch_job(Connection& connection, const std::string& name, const Terminal& out, bool with_lines) {
  Watcher watcher(out, name);
  JobLogs lines(connection, name, "");
  while (true) {
    // Progress first: what is asked after the job's end would be shown as if it still ran.
    const json::object progress = progress_once(connection, name);
    json::object description = describe_once(connection, name);
    const bool name_hosts = has_several_hosts(description);
    watcher.show(description, progress, [&] {
      if (with_lines) {
        patiently([&] { return lines.read([&](const JobLine& line) { watcher.say_line(line, name_hosts); }); });
      }
    });
    if (is_over(json::get_string(description, "TrainingJobStatus"))) {
      watcher.end();
      return description;
    }
    std::this_thread::sleep_for(kPoll);
  }
}

json::object await_job(Connection& connection, const std::string& name) {
  while (true) {
    json::object description = describe_once(connection, name);
    if (is_over(json::get_string(description, "TrainingJobStatus"))) return description;
    std::this_thread::sleep_for(kPoll);
  }
}

void tell_end(const json::object& description, const Terminal& out) {
  const std::string name = json::get_string(description, "TrainingJobName");
  const std::string status = json::get_string(description, "TrainingJobStatus");
  out.line(fmt::format("{} {} after {}", out.paint(Colour::kBold, name), out.paint(colour_of_status(status), status),
                       time_taken(description)));
  if (const auto reason = json::find_string(description, "FailureReason")) out.line("  " + out.foreign(*reason));
  const json::object* artifacts = json::find_object(description, "ModelArtifacts");
  if (status == "Completed" && artifacts != nullptr) {
    out.line("  model  " + out.paint(Colour::kCyan, json::get_string(*artifacts, "S3ModelArtifacts")));
  }
}

ExitCode exit_code_of_job(const json::object& description) {
  const std::string status = json::get_string(description, "TrainingJobStatus");
  return status == "Completed" ? kSuccess : status == "Stopped" ? kJobStopped : kJobFailed;
}

}  // namespace athanor::cli
