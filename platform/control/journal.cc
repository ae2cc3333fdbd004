#include "platform/control/journal.h"

#include <algorithm>
#include <utility>

#include "common/error.h"

namespace athanor::control {

void Journal::feed(const Event& event, Now now) {
  if (const auto* submitted = std::get_if<Submitted>(&event)) submitted_.insert(submitted->record.job.sequence);
  take(machine_.apply(event, now));
}

void Journal::take(Outcome outcome) {
  changed_.merge(outcome.changed);
  for (JobRecord& record : outcome.finished) {
    const std::int64_t job = record.job.sequence;
    changed_.erase(job);
    finished_.insert_or_assign(job, std::move(record));
  }
  std::move(outcome.actions.begin(), outcome.actions.end(), std::back_inserter(actions_));
}

std::optional<Journal::Batch> Journal::next() {
  if (out_ || (changed_.empty() && finished_.empty())) return std::nullopt;
  batch_ = {};
  for (const std::int64_t job : changed_) {
    const JobRecord* record = machine_.find(job);
    ATHANOR_ASSERT(record != nullptr);
    batch_.records.push_back(*record);
  }
  for (auto& [job, record] : finished_) batch_.records.push_back(std::move(record));
  changed_.clear();
  finished_.clear();
  batch_actions_ = std::exchange(actions_, {});
  out_ = true;
  return batch_;
}

std::vector<Action> Journal::committed() {
  ATHANOR_ASSERT(out_);
  out_ = false;
  for (const JobRecord& record : batch_.records) submitted_.erase(record.job.sequence);
  return std::exchange(batch_actions_, {});
}

std::vector<std::int64_t> Journal::failed(Now now) {
  ATHANOR_ASSERT(out_);
  out_ = false;
  std::vector<std::int64_t> withdrawn;
  batch_actions_.insert(batch_actions_.end(), std::make_move_iterator(actions_.begin()),
                        std::make_move_iterator(actions_.end()));
  actions_ = std::exchange(batch_actions_, {});
  for (JobRecord& record : batch_.records) {
    const std::int64_t job = record.job.sequence;
    if (submitted_.contains(job)) {
      withdrawn.push_back(job);
    } else if (machine_.find(job) != nullptr) {
      changed_.insert(job);
    } else {
      finished_.try_emplace(job, std::move(record));
    }
  }
  for (const std::int64_t job : withdrawn) {
    submitted_.erase(job);
    changed_.erase(job);
    finished_.erase(job);
    std::erase_if(actions_, [job](const Action& action) { return action.job == job; });
    take(machine_.apply(Withdrawn{job}, now));
  }
  return withdrawn;
}

std::vector<Action> Journal::ready() {
  if (out_ || !changed_.empty() || !finished_.empty()) return {};
  return std::exchange(actions_, {});
}

}  // namespace athanor::control
