#include "platform/control/machine.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/error.h"
#include "platform/control/reasons.h"
#include "platform/control/transitions.h"

namespace athanor::control {

Machine::Machine(std::vector<Slot> slots, std::vector<JobRecord> records) : slots_(std::move(slots)) {
  for (JobRecord& record : records) {
    const std::int64_t job = record.job.sequence;
    if (record.step == Step::kWaiting) {
      waiting_.insert(job);
    } else {
      volatile_[job];
    }
    for (const InstanceRecord& instance : record.instances) {
      if (!instance.gone) owners_[instance.id] = job;
    }
    ATHANOR_ASSERT(jobs_.emplace(job, std::move(record)).second);
  }
  check();
}

Outcome Machine::apply(const Event& event, Now now) {
  Turn turn{now, {}};
  std::visit([&](const auto& e) { on(turn, e); }, event);
  for (const std::int64_t job : turn.outcome.changed) {
    ATHANOR_ASSERT(jobs_.contains(job));
    check_record(jobs_.at(job));
  }
  for (const JobRecord& record : turn.outcome.finished) {
    ATHANOR_ASSERT(is_terminal(record.job.status));
    for (const InstanceRecord& instance : record.instances) ATHANOR_ASSERT(instance.gone);
    check_record(record);
  }
  return std::move(turn.outcome);
}

const JobRecord* Machine::find(std::int64_t job) const {
  const auto it = jobs_.find(job);
  return it == jobs_.end() ? nullptr : &it->second;
}

const JobRecord* Machine::find_by_instance(std::string_view instance) const {
  const auto it = owners_.find(std::string(instance));
  return it == owners_.end() ? nullptr : find(it->second);
}

std::optional<std::int64_t> Machine::next_deadline_ms() const {
  std::optional<std::int64_t> next;
  const auto consider = [&next](const std::optional<std::int64_t>& at) {
    if (at && (!next || *at < *next)) next = at;
  };
  for (const auto& [job, forgettable] : volatile_) {
    consider(forgettable.max_runtime_deadline_ms);
    for (const auto& [instance, watch] : forgettable.watches) {
      consider(watch.link_deadline_ms);
      consider(watch.order_deadline_ms);
    }
  }
  return next;
}

void Machine::check() const {
  std::set<std::string> held;
  for (const auto& [job, record] : jobs_) {
    ATHANOR_ASSERT(job == record.job.sequence);
    ATHANOR_ASSERT((record.step == Step::kWaiting) == waiting_.contains(job));
    ATHANOR_ASSERT((record.step == Step::kWaiting) != volatile_.contains(job));
    check_record(record);
    for (const InstanceRecord& instance : record.instances) {
      if (instance.gone) continue;
      ATHANOR_ASSERT(held.insert(instance.slot.id).second);
      ATHANOR_ASSERT(owners_.at(instance.id) == job);
    }
  }
  ATHANOR_ASSERT(held.size() == owners_.size());
}

void Machine::on(Turn& turn, const Submitted& event) {
  const std::int64_t job = event.record.job.sequence;
  ATHANOR_ASSERT(jobs_.empty() || jobs_.rbegin()->first < job);
  ATHANOR_ASSERT(event.record.job.instance_count > 0);
  JobRecord& record = jobs_.emplace(job, event.record).first->second;
  record.job.created_ms = turn.now.wall_ms;
  enter(record.job, SecondaryStatus::kStarting, "Starting the training job", turn.now.wall_ms);
  waiting_.insert(job);
  turn.outcome.changed.insert(job);
  schedule(turn);
  if (record.step == Step::kWaiting) {
    enter(record.job, SecondaryStatus::kPending, "Training job waiting for capacity", turn.now.wall_ms);
  }
}

void Machine::on(Turn& turn, const Withdrawn& event) {
  const auto it = jobs_.find(event.job);
  if (it == jobs_.end()) return;
  for (const InstanceRecord& instance : it->second.instances) owners_.erase(instance.id);
  jobs_.erase(it);
  waiting_.erase(event.job);
  volatile_.erase(event.job);
  schedule(turn);
}

void Machine::on(Turn& turn, const StopRequested& event) {
  const auto it = jobs_.find(event.job);
  if (it == jobs_.end() || is_terminal(it->second.job.status)) return;
  JobRecord& record = it->second;
  if (record.verdict != Verdict::kNone && record.verdict != Verdict::kCompleted) return;  // it is ending already
  if (record.step != Step::kWaiting) volatile_[event.job].grace_s = event.grace_s;
  decide(turn, record, Verdict::kStopped, "");
  advance(turn, event.job);
  schedule(turn);
}

void Machine::on(Turn& turn, const Connected& event) {
  const auto [record, instance] = locate(event.instance);
  if (record == nullptr) return;
  Watch& watched = watch(*record, *instance);
  watched.connected = true;
  watched.link_deadline_ms.reset();
  hear(turn, *record, *instance, event.report);
  const Order before = instance->order;
  const std::int64_t job = record->job.sequence;
  advance(turn, job);
  // What was ordered while nobody listened, or was lost with the last link.
  if (const auto [same, still] = locate(event.instance); same != nullptr) {
    if (still->order == before && before != Order::kNone && still->last_sequence < still->order_sequence) {
      tell(turn, *same, *still);
    }
  }
}

void Machine::on(Turn& turn, const Reported& event) {
  const auto [record, instance] = locate(event.instance);
  if (record == nullptr) return;
  hear(turn, *record, *instance, event.report);
  advance(turn, record->job.sequence);
}

void Machine::on(Turn& turn, const Disconnected& event) {
  const auto [record, instance] = locate(event.instance);
  if (record == nullptr) return;
  Watch& watched = watch(*record, *instance);
  if (!watched.connected) return;
  watched.connected = false;
  watched.link_deadline_ms = turn.now.steady_ms + kReconnectMax_ms;
}

void Machine::on(Turn& turn, const InstanceGone& event) {
  const auto [record, instance] = locate(event.instance);
  if (record == nullptr) return;
  instance->gone = true;
  instance->gone_why = event.why;
  owners_.erase(event.instance);
  volatile_[record->job.sequence].watches.erase(event.instance);
  turn.outcome.changed.insert(record->job.sequence);
  advance(turn, record->job.sequence);
  schedule(turn);
}

void Machine::on(Turn& turn, const LaunchFailed& event) {
  const auto it = jobs_.find(event.job);
  if (it == jobs_.end() || it->second.attempt != event.attempt || it->second.step == Step::kWaiting) return;
  JobRecord& record = it->second;
  if (is_terminal(record.job.status)) return;
  if (record.verdict == Verdict::kNone || record.verdict == Verdict::kCompleted) {
    record.artifacts = false;
    decide(turn, record, Verdict::kFailed, with_prefix(event.why));
  }
  advance(turn, event.job);
}

void Machine::on(Turn& turn, const Restarted&) {
  std::vector<std::int64_t> jobs;
  for (const auto& [job, record] : jobs_) jobs.push_back(job);
  for (const std::int64_t job : jobs) {
    JobRecord& record = jobs_.at(job);
    if (record.step == Step::kWaiting) continue;
    Launch launch;
    for (InstanceRecord& instance : record.instances) {
      if (instance.gone) continue;
      launch.instances.push_back(instance);
      const bool may_never_have_been = instance.order == Order::kNone && record.step == Step::kStarting;
      if (!may_never_have_been) launch.attach_only.insert(instance.id);
      Watch& watched = watch(record, instance);
      watched.link_deadline_ms = turn.now.steady_ms + (may_never_have_been ? kConnectMax_ms : kReconnectMax_ms);
      if (instance.order != Order::kNone) arm(turn, record, instance);
    }
    if (record.job.training_start_ms && !is_terminal(record.job.status)) {
      const std::int64_t max_ms = record.job.max_runtime_s * 1000;
      const std::int64_t ran_ms = turn.now.wall_ms - *record.job.training_start_ms;
      volatile_[job].max_runtime_deadline_ms =
          turn.now.steady_ms + std::clamp<std::int64_t>(max_ms - ran_ms, 0, max_ms);
    }
    if (!launch.instances.empty()) {
      turn.outcome.actions.push_back({job, record.attempt, ++record.last_sequence, std::move(launch)});
      turn.outcome.changed.insert(job);
    }
    advance(turn, job);
  }
  schedule(turn);
}

void Machine::on(Turn& turn, const TimePassed&) {
  const auto due = [&turn](const std::optional<std::int64_t>& at) { return at && *at <= turn.now.steady_ms; };
  std::vector<std::int64_t> jobs;
  for (const auto& [job, forgettable] : volatile_) jobs.push_back(job);
  for (const std::int64_t job : jobs) {
    JobRecord& record = jobs_.at(job);
    Volatile& forgettable = volatile_[job];
    bool touched = false;
    if (due(forgettable.max_runtime_deadline_ms)) {
      forgettable.max_runtime_deadline_ms.reset();
      if (record.verdict == Verdict::kNone) decide(turn, record, Verdict::kMaxRuntime, "");
      touched = true;
    }
    for (InstanceRecord& instance : record.instances) {
      if (instance.gone) continue;
      Watch& watched = watch(record, instance);
      if (due(watched.link_deadline_ms)) {
        watched.link_deadline_ms.reset();
        lose(turn, record, instance,
             instance.order == Order::kNone ? fmt::format("it did not connect within {} s", kConnectMax_ms / 1000)
                                            : fmt::format("it did not reconnect within {} s", kReconnectMax_ms / 1000));
        touched = true;
      } else if (due(watched.order_deadline_ms)) {
        lose(turn, record, instance, "it did not do in time what it was told");
        touched = true;
      }
    }
    if (touched) advance(turn, job);
  }
}

bool Machine::is_free(const Slot& slot) const {
  for (const auto& [id, job] : owners_) {
    for (const InstanceRecord& instance : jobs_.at(job).instances) {
      if (instance.gone) continue;
      if (instance.slot.id == slot.id) return false;
      const auto is_same = [&](const Slot& other) { return other.id == instance.slot.id; };
      if (std::any_of(slots_.begin(), slots_.end(), is_same)) continue;
      for (const std::uint32_t cpu : instance.slot.cpus) {  // the machine was cut differently when that one began
        if (std::find(slot.cpus.begin(), slot.cpus.end(), cpu) != slot.cpus.end()) return false;
      }
    }
  }
  return true;
}

// Strictly in order: a job that needs much is not overtaken by those that need little, so that none waits for ever.
void Machine::schedule(Turn& turn) {
  while (!waiting_.empty()) {
    const std::int64_t job = *waiting_.begin();
    JobRecord& record = jobs_.at(job);
    const auto needed = static_cast<std::size_t>(record.job.instance_count);
    if (needed > slots_.size()) {
      decide(turn, record, Verdict::kFailed,
             fmt::format("CapacityError: the job needs {} instances and this machine is now cut into {}; start athanor "
                         "with more instances, or submit the job with fewer",
                         needed, slots_.size()));
      advance(turn, job);
      continue;
    }
    std::vector<const Slot*> free;
    for (const Slot& slot : slots_) {
      if (free.size() < needed && is_free(slot)) free.push_back(&slot);
    }
    if (free.size() < needed) return;
    start(turn, record, free);
  }
}

void Machine::start(Turn& turn, JobRecord& record, const std::vector<const Slot*>& slots) {
  const std::int64_t job = record.job.sequence;
  waiting_.erase(job);
  volatile_[job];
  record.step = Step::kStarting;
  Launch launch;
  for (std::uint32_t index = 0; index < slots.size(); ++index) {
    InstanceRecord instance;
    instance.id = fmt::format("i{}-{}-{}", job, record.attempt, index + 1);
    instance.index = index;
    instance.slot = *slots[index];
    owners_[instance.id] = job;
    record.instances.push_back(instance);
    watch(record, instance).link_deadline_ms = turn.now.steady_ms + kConnectMax_ms;
    launch.instances.push_back(std::move(instance));
  }
  enter(record.job, SecondaryStatus::kStarting, "Launching requested ML instances", turn.now.wall_ms);
  turn.outcome.actions.push_back({job, record.attempt, ++record.last_sequence, std::move(launch)});
  turn.outcome.changed.insert(job);
}

bool Machine::is_settled(const InstanceRecord& instance) {
  if (instance.gone || instance.order == Order::kNone || instance.phase == Phase::kBroken) return true;
  if (instance.exit.has_value() || instance.phase >= Phase::kExited || !instance.error.empty()) return true;
  return instance.order == Order::kTerminate && instance.last_sequence >= instance.order_sequence &&
         (instance.phase == Phase::kIdle || instance.phase == Phase::kPrepared);
}

void Machine::hear(Turn& turn, JobRecord& record, InstanceRecord& instance, const Report& report) {
  const bool of_this_job = report.job == record.job.name && report.attempt == record.attempt;
  if (!of_this_job) return;  // it has done nothing yet
  // Agents only go forward: a report that was overtaken on the way says nothing new.
  if (report.phase < instance.phase || report.last_sequence < instance.last_sequence) return;
  if (report.phase == instance.phase && report.last_sequence == instance.last_sequence &&
      report.error == instance.error && report.staged_key == instance.staged_key &&
      report.exit.has_value() == instance.exit.has_value() && report.metrics.empty()) {
    return;
  }
  instance.phase = report.phase;
  instance.last_sequence = report.last_sequence;
  instance.error = report.error;
  instance.staged_key = report.staged_key;
  if (report.exit) instance.exit = report.exit;
  if (instance.phase >= Phase::kExited && instance.phase != Phase::kBroken && !instance.exit) instance.exit = Exit{};
  merge_metrics(record.job, report.metrics);
  turn.outcome.changed.insert(record.job.sequence);
  Watch& watched = watch(record, instance);
  const bool done = (instance.order == Order::kTerminate && is_settled(instance)) ||
                    (instance.order == Order::kStage && instance.phase >= Phase::kStaged) ||
                    (instance.order == Order::kPublish && instance.phase >= Phase::kPublished);
  if (done) watched.order_deadline_ms.reset();
}

// The agent may live on, out of our reach: it is ended by force, and its slot is free when that has been seen.
void Machine::lose(Turn& turn, JobRecord& record, InstanceRecord& instance, const std::string& why) {
  if (record.step != Step::kReleasing) {
    instance.phase = Phase::kBroken;
    instance.error = lost_agent(instance.index, why);
    turn.outcome.changed.insert(record.job.sequence);
  }
  discard(turn, record, instance);
}

void Machine::give(Turn& turn, JobRecord& record, InstanceRecord& instance, Order order) {
  ATHANOR_ASSERT(!instance.gone);
  ATHANOR_ASSERT(order > instance.order);
  instance.order = order;
  instance.order_sequence = ++record.last_sequence;
  turn.outcome.changed.insert(record.job.sequence);
  arm(turn, record, instance);
  if (watch(record, instance).connected) tell(turn, record, instance);
}

void Machine::arm(Turn& turn, JobRecord& record, const InstanceRecord& instance) {
  Watch& watched = watch(record, instance);
  watched.order_deadline_ms.reset();
  if (instance.order == Order::kTerminate && !is_settled(instance)) {
    const std::int64_t grace_ms = volatile_[record.job.sequence].grace_s * 1000;
    watched.order_deadline_ms = turn.now.steady_ms + grace_ms + kTerminateSlack_ms;
  } else if (instance.order == Order::kStage || instance.order == Order::kPublish) {
    watched.order_deadline_ms = turn.now.steady_ms + kUploadMax_ms;
  } else if (instance.order == Order::kRelease) {
    watched.order_deadline_ms = turn.now.steady_ms + kReleaseMax_ms;
  }
}

void Machine::tell(Turn& turn, JobRecord& record, const InstanceRecord& instance) {
  Tell tell;
  tell.instance = instance.id;
  tell.order = instance.order;
  if (instance.order == Order::kTerminate) {
    tell.grace_s = static_cast<std::uint32_t>(volatile_[record.job.sequence].grace_s);
  }
  if (instance.order == Order::kPublish) {
    for (const InstanceRecord& other : record.instances) {
      if (!other.staged_key.empty() && other.index != instance.index) tell.staged_keys.push_back(other.staged_key);
    }
  }
  turn.outcome.actions.push_back({record.job.sequence, record.attempt, instance.order_sequence, std::move(tell)});
}

void Machine::discard(Turn& turn, JobRecord& record, const InstanceRecord& instance) {
  Watch& watched = watch(record, instance);
  watched.discarded = true;
  watched.link_deadline_ms.reset();
  watched.order_deadline_ms = turn.now.steady_ms + kReleaseMax_ms;  // and again, until it is gone
  turn.outcome.actions.push_back({record.job.sequence, record.attempt, ++record.last_sequence, Discard{instance.id}});
  turn.outcome.changed.insert(record.job.sequence);
}

Machine::Watch& Machine::watch(const JobRecord& record, const InstanceRecord& instance) {
  return volatile_[record.job.sequence].watches[instance.id];
}

std::pair<JobRecord*, InstanceRecord*> Machine::locate(const std::string& instance) {
  const auto owner = owners_.find(instance);
  if (owner == owners_.end()) return {nullptr, nullptr};
  JobRecord& record = jobs_.at(owner->second);
  for (InstanceRecord& candidate : record.instances) {
    if (candidate.id == instance) return {&record, &candidate};
  }
  ATHANOR_ASSERT(!"an instance has an owner that does not know it");
  return {nullptr, nullptr};
}

}  // namespace athanor::control
