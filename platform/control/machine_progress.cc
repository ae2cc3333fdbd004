// How a job goes from step to step: what becomes of it when it is looked at as it stands, and how it ends.
#include <algorithm>
#include <utility>

#include "common/error.h"
#include "platform/control/machine.h"
#include "platform/control/reasons.h"
#include "platform/control/transitions.h"

namespace athanor::control {
namespace {

bool can_upload(const InstanceRecord& instance) { return !instance.gone && instance.phase != Phase::kBroken; }

// What an agent says of its program's failure stays in its reports while it uploads; it is no failure to upload.
bool failed_to_upload(const InstanceRecord& instance) {
  return !can_upload(instance) || (!instance.error.empty() && !instance.error.starts_with("AlgorithmError: "));
}

// Why the instance's part of the job failed, or nothing.
std::optional<std::string> failure_of(const InstanceRecord& instance) {
  if (!instance.error.empty()) return with_prefix(instance.error);
  if (instance.gone) return lost_agent(instance.index, instance.gone_why);
  if (instance.phase == Phase::kBroken) return lost_agent(instance.index, "it reported that it is broken");
  if (instance.exit && instance.exit->code != 0) return algorithm_error(instance.index, *instance.exit);
  return std::nullopt;
}

template <typename Predicate>
bool all_of(const JobRecord& record, Predicate predicate) {
  return std::all_of(record.instances.begin(), record.instances.end(), predicate);
}

}  // namespace

void Machine::advance(Turn& turn, std::int64_t job) {
  // Each round enters a later step; there are seven.
  for (int round = 0; round < 8; ++round) {
    const auto it = jobs_.find(job);
    if (it == jobs_.end()) return;
    JobRecord& record = it->second;
    const Step before = record.step;
    switch (record.step) {
      case Step::kWaiting:
        if (record.verdict != Verdict::kNone) {
          waiting_.erase(job);
          volatile_[job];
          finish(turn, record);
        }
        break;
      case Step::kStarting: advance_starting(turn, record); break;
      case Step::kTraining: advance_training(turn, record); break;
      case Step::kEnding: advance_ending(turn, record); break;
      case Step::kStaging: advance_staging(turn, record); break;
      case Step::kPublishing: advance_publishing(turn, record); break;
      case Step::kReleasing: advance_releasing(turn, record); return;
    }
    if (record.step == before) return;
    turn.outcome.changed.insert(job);
  }
}

void Machine::advance_starting(Turn& turn, JobRecord& record) {
  for (const InstanceRecord& instance : record.instances) {
    if (record.verdict != Verdict::kNone) break;
    if (auto reason = failure_of(instance)) decide(turn, record, Verdict::kFailed, std::move(*reason));
  }
  if (record.verdict != Verdict::kNone) {
    record.step = Step::kEnding;
    return;
  }
  bool all_connected = true;
  for (InstanceRecord& instance : record.instances) {
    if (instance.order == Order::kNone && watch(record, instance).connected) {
      say(record.job, SecondaryStatus::kStarting, "Preparing the instances for training", turn.now.wall_ms);
      give(turn, record, instance, Order::kPrepare);
    }
    all_connected = all_connected && instance.order != Order::kNone;
  }
  if (all_connected && !record.job.training_start_ms) {
    enter(record.job, SecondaryStatus::kDownloading,
          record.has_inputs ? "Downloading input data" : "Downloading the training image", turn.now.wall_ms);
    record.job.training_start_ms = turn.now.wall_ms;
    volatile_[record.job.sequence].max_runtime_deadline_ms = turn.now.steady_ms + record.job.max_runtime_s * 1000;
    turn.outcome.changed.insert(record.job.sequence);
  }
  if (!all_of(record, [](const InstanceRecord& i) { return i.phase == Phase::kPrepared; })) return;
  for (InstanceRecord& instance : record.instances) give(turn, record, instance, Order::kStart);
  record.started = true;
  record.step = Step::kTraining;
  enter(record.job, SecondaryStatus::kTraining, "Training image download completed. Training in progress.",
        turn.now.wall_ms);
}

void Machine::advance_training(Turn& turn, JobRecord& record) {
  for (const InstanceRecord& instance : record.instances) {
    if (record.verdict != Verdict::kNone) break;
    if (auto reason = failure_of(instance)) decide(turn, record, Verdict::kFailed, std::move(*reason));
  }
  if (record.verdict == Verdict::kNone && all_of(record, [](const InstanceRecord& i) { return i.exit.has_value(); })) {
    decide(turn, record, Verdict::kCompleted, "");
  }
  if (record.verdict != Verdict::kNone) record.step = Step::kEnding;
}

void Machine::advance_ending(Turn& turn, JobRecord& record) {
  for (InstanceRecord& instance : record.instances) {
    if (!is_settled(instance) && instance.order != Order::kTerminate) give(turn, record, instance, Order::kTerminate);
  }
  if (!all_of(record, is_settled)) return;
  if (!record.started || !record.artifacts) return finish(turn, record);
  for (const InstanceRecord& instance : record.instances) {
    if (!can_upload(instance)) return upload_failed(turn, record, instance);
  }
  enter(record.job, SecondaryStatus::kUploading, "Uploading generated training model", turn.now.wall_ms);
  for (std::size_t i = 1; i < record.instances.size(); ++i) give(turn, record, record.instances[i], Order::kStage);
  record.step = Step::kStaging;
}

void Machine::advance_staging(Turn& turn, JobRecord& record) {
  bool all_staged = true;
  for (const InstanceRecord& instance : record.instances) {
    if (failed_to_upload(instance)) return upload_failed(turn, record, instance);
    all_staged = all_staged && (instance.index == 0 || instance.phase >= Phase::kStaged);
  }
  if (!all_staged) return;
  give(turn, record, record.instances[0], Order::kPublish);
  record.step = Step::kPublishing;
}

void Machine::advance_publishing(Turn& turn, JobRecord& record) {
  const InstanceRecord& publisher = record.instances[0];
  const bool published = publisher.phase == Phase::kPublished;
  if (published ? !publisher.error.empty() && failed_to_upload(publisher) && !publisher.gone
                : failed_to_upload(publisher)) {
    return upload_failed(turn, record, publisher);
  }
  if (published) finish(turn, record);
}

void Machine::advance_releasing(Turn& turn, JobRecord& record) {
  bool all_gone = true;
  for (InstanceRecord& instance : record.instances) {
    if (instance.gone) continue;
    all_gone = false;
    if (instance.order == Order::kRelease) continue;
    const bool heard_of = instance.order != Order::kNone && instance.phase != Phase::kBroken;
    give(turn, record, instance, Order::kRelease);
    const Watch& watched = watch(record, instance);
    if (!heard_of && !watched.connected && !watched.discarded) discard(turn, record, instance);
  }
  if (!all_gone) return;
  const std::int64_t job = record.job.sequence;
  Clean clean;
  for (const InstanceRecord& instance : record.instances) clean.instances.push_back(instance.id);
  turn.outcome.actions.push_back({job, record.attempt, ++record.last_sequence, std::move(clean)});
  turn.outcome.changed.erase(job);
  turn.outcome.finished.push_back(std::move(record));
  volatile_.erase(job);
  jobs_.erase(job);
}

void Machine::upload_failed(Turn& turn, JobRecord& record, const InstanceRecord& instance) {
  if (record.verdict != Verdict::kFailed) {
    decide(turn, record, Verdict::kFailed, failure_of(instance).value_or(lost_agent(instance.index, "it is gone")));
  }
  finish(turn, record);
}

void Machine::decide(Turn& turn, JobRecord& record, Verdict verdict, std::string reason) {
  ATHANOR_ASSERT(!is_terminal(record.job.status));
  record.verdict = verdict;
  record.job.failure_reason = std::move(reason);
  if (verdict == Verdict::kStopped || verdict == Verdict::kMaxRuntime) {
    record.job.status = Status::kStopping;
    // A job that is uploading already goes on to do so.
    if (record.step < Step::kStaging) {
      enter(record.job, SecondaryStatus::kStopping, "Stopping the training job", turn.now.wall_ms);
    }
  }
  record.job.modified_ms = turn.now.wall_ms;
  turn.outcome.changed.insert(record.job.sequence);
}

void Machine::finish(Turn& turn, JobRecord& record) {
  ATHANOR_ASSERT(!is_terminal(record.job.status));
  ATHANOR_ASSERT(record.verdict != Verdict::kNone);
  const std::int64_t now_ms = turn.now.wall_ms;
  switch (record.verdict) {
    case Verdict::kNone: break;
    case Verdict::kCompleted:
      record.job.status = Status::kCompleted;
      enter(record.job, SecondaryStatus::kCompleted, "Training job completed", now_ms);
      break;
    case Verdict::kStopped:
      record.job.status = Status::kStopped;
      enter(record.job, SecondaryStatus::kStopped, "Training job stopped", now_ms);
      break;
    case Verdict::kMaxRuntime:
      record.job.status = Status::kStopped;
      enter(record.job, SecondaryStatus::kMaxRuntimeExceeded,
            "Training job runtime exceeded MaxRuntimeInSeconds provided", now_ms);
      break;
    case Verdict::kFailed:
      record.job.status = Status::kFailed;
      enter(record.job, SecondaryStatus::kFailed, "Training job failed", now_ms);
      break;
  }
  record.job.transitions.back().end_ms = record.job.transitions.back().start_ms;
  if (record.job.training_start_ms) record.job.training_end_ms = std::max(now_ms, *record.job.training_start_ms);
  volatile_[record.job.sequence].max_runtime_deadline_ms.reset();
  record.step = Step::kReleasing;
  turn.outcome.changed.insert(record.job.sequence);
}

}  // namespace athanor::control
