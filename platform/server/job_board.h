// What readers see of all jobs: a snapshot of each as it was last stored. Published by the control thread; read by any
// thread without waiting for it (readers and the writer meet only for the exchange of one pointer).
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "platform/control/job.h"

namespace athanor::server {

class JobBoard {
 public:
  using JobPointer = std::shared_ptr<const control::Job>;

  JobBoard();
  // One thread at a time.
  void publish(JobPointer job);
  void remove(std::string_view name);

  JobPointer find(std::string_view name) const;
  std::vector<JobPointer> list() const;  // by sequence

  // The latest progress beat of a job; of those on the board only.
  void set_progress(const std::string& name, control::Progress progress);
  control::Progress progress(std::string_view name) const;

 private:
  static constexpr std::size_t kShards = 1024;
  using Shard = std::vector<JobPointer>;  // never changed once published; a change makes another

  static std::size_t shard_of(std::string_view name) { return std::hash<std::string_view>()(name) % kShards; }

  std::array<std::atomic<std::shared_ptr<const Shard>>, kShards> shards_;
  mutable std::mutex progress_mutex_;  // guards the next
  std::unordered_map<std::string, control::Progress> progress_;
};

}  // namespace athanor::server
