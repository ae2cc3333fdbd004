#include "platform/server/job_board.h"

#include <algorithm>

namespace athanor::server {

JobBoard::JobBoard() {
  for (auto& shard : shards_) shard.store(std::make_shared<const Shard>());
}

void JobBoard::publish(JobPointer job) {
  auto& shard = shards_[shard_of(job->name)];
  auto next = std::make_shared<Shard>(*shard.load());
  const auto it = std::find_if(next->begin(), next->end(), [&](const JobPointer& j) { return j->name == job->name; });
  if (it == next->end()) {
    next->push_back(std::move(job));
  } else {
    *it = std::move(job);
  }
  shard.store(std::move(next));
}

void JobBoard::remove(std::string_view name) {
  auto& shard = shards_[shard_of(name)];
  auto next = std::make_shared<Shard>(*shard.load());
  std::erase_if(*next, [&](const JobPointer& job) { return job->name == name; });
  shard.store(std::move(next));
  const std::lock_guard hold(progress_mutex_);
  progress_.erase(std::string(name));
}

JobBoard::JobPointer JobBoard::find(std::string_view name) const {
  const auto shard = shards_[shard_of(name)].load();
  for (const JobPointer& job : *shard) {
    if (job->name == name) return job;
  }
  return nullptr;
}

std::vector<JobBoard::JobPointer> JobBoard::list() const {
  std::vector<JobPointer> jobs;
  for (const auto& slot : shards_) {
    const auto shard = slot.load();
    jobs.insert(jobs.end(), shard->begin(), shard->end());
  }
  std::sort(jobs.begin(), jobs.end(), [](const auto& a, const auto& b) { return a->sequence < b->sequence; });
  return jobs;
}

void JobBoard::set_progress(const std::string& name, control::Progress progress) {
  const std::lock_guard hold(progress_mutex_);
  if (find(name) == nullptr) return;  // seen within the lock: remove() takes it after the job is off the board
  progress_[name] = std::move(progress);
}

control::Progress JobBoard::progress(std::string_view name) const {
  const std::lock_guard hold(progress_mutex_);
  const auto it = progress_.find(std::string(name));
  return it == progress_.end() ? control::Progress() : it->second;
}

}  // namespace athanor::server
