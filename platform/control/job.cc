#include "platform/control/job.h"

namespace athanor::control {

const char* to_string(Status status) {
  switch (status) {
    case Status::kInProgress: return "InProgress";
    case Status::kCompleted: return "Completed";
    case Status::kFailed: return "Failed";
    case Status::kStopping: return "Stopping";
    case Status::kStopped: return "Stopped";
  }
  return "Failed";
}

const char* to_string(SecondaryStatus status) {
  switch (status) {
    case SecondaryStatus::kStarting: return "Starting";
    case SecondaryStatus::kPending: return "Pending";
    case SecondaryStatus::kDownloading: return "Downloading";
    case SecondaryStatus::kTraining: return "Training";
    case SecondaryStatus::kUploading: return "Uploading";
    case SecondaryStatus::kStopping: return "Stopping";
    case SecondaryStatus::kStopped: return "Stopped";
    case SecondaryStatus::kMaxRuntimeExceeded: return "MaxRuntimeExceeded";
    case SecondaryStatus::kCompleted: return "Completed";
    case SecondaryStatus::kFailed: return "Failed";
  }
  return "Failed";
}

}  // namespace athanor::control
