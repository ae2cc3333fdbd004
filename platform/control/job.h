// A training job as the control plane knows it: everything that must survive a restart, and that DescribeTrainingJob
// shows. Plain data; platform/store saves it, platform/control changes it, platform/api prints it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace athanor::control {

// The API's TrainingJobStatus and SecondaryStatus, spelled as it spells them (to_string).
enum class Status { kInProgress, kCompleted, kFailed, kStopping, kStopped };
enum class SecondaryStatus {
  kStarting,
  kPending,
  kDownloading,
  kTraining,
  kUploading,
  kStopping,
  kStopped,
  kMaxRuntimeExceeded,
  kCompleted,
  kFailed,
};
const char* to_string(Status status);
const char* to_string(SecondaryStatus status);
inline bool is_terminal(Status status) {
  return status == Status::kCompleted || status == Status::kFailed || status == Status::kStopped;
}

// One row of SecondaryStatusTransitions.
struct Transition {
  SecondaryStatus status = SecondaryStatus::kStarting;
  std::int64_t start_ms = 0;  // wall clock
  std::optional<std::int64_t> end_ms;
  std::string message;
};

// One row of FinalMetricDataList.
struct Metric {
  std::string name;
  double value = 0;
  std::int64_t timestamp_ms = 0;
};

// The latest progress beat of the job's program (docs/contract.md, extension): free numbers, the usual ones being
// step, steps, loss, tokens_per_s, seconds_left.
using Progress = std::map<std::string, double>;

struct Job {
  std::string name;
  std::string arn;
  std::string request;        // the validated CreateTrainingJob request, JSON, as the client sent it
  std::int64_t sequence = 0;  // order of creation; breaks ties of created_ms

  // What the state machine needs of the request.
  std::int32_t instance_count = 1;
  std::string instance_type;
  std::int64_t max_runtime_s = 86400;

  Status status = Status::kInProgress;
  SecondaryStatus secondary = SecondaryStatus::kStarting;
  std::vector<Transition> transitions;
  std::string failure_reason;   // at most 1024 characters
  std::string model_artifacts;  // s3://… of the model, known from the start

  std::int64_t created_ms = 0;
  std::int64_t modified_ms = 0;
  std::optional<std::int64_t> training_start_ms;  // instances ready: billing and TrainingTimeInSeconds count from here
  std::optional<std::int64_t> training_end_ms;

  std::vector<Metric> final_metrics;
};

}  // namespace athanor::control
