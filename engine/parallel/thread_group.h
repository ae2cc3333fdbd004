// Ranks that are threads of one process: what tests use in place of a network.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "common/error.h"
#include "engine/parallel/collectives.h"

namespace athanor::parallel {

class ThreadGroup {
 public:
  explicit ThreadGroup(int size) : size_(size), buffers_(static_cast<std::size_t>(size)) {}

  // Runs `body` as every rank and waits for all; throws on what was thrown first. A rank that throws makes the
  // others fail in their next collective, as a broken connection would.
  void run(const std::function<void(Collectives&)>& body) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size_; ++rank) {
      threads.emplace_back([&, rank] {
        Member member(*this, rank);
        try {
          body(member);
        } catch (...) {
          break_up(std::current_exception());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  class Member final : public Collectives {
   public:
    Member(ThreadGroup& group, int rank) : group_(group), rank_(rank) {}
    int rank() const override { return rank_; }
    int size() const override { return group_.size_; }
    // Every rank sums for itself, in order of rank.
    void all_reduce_sum(std::span<float> buffer) override {
      std::vector<float> sum(buffer.begin(), buffer.end());
      group_.publish(rank_, std::as_writable_bytes(buffer));
      for (std::size_t i = 0; i < sum.size(); ++i) {
        sum[i] = 0;
        for (int rank = 0; rank < group_.size_; ++rank) sum[i] += reinterpret_cast<float*>(group_.of(rank).data())[i];
      }
      group_.meet();
      std::copy(sum.begin(), sum.end(), buffer.begin());
      group_.meet();
    }
    void broadcast(std::span<std::byte> buffer, int root) override {
      group_.publish(rank_, buffer);
      const std::vector<std::byte> copy(group_.of(root).begin(), group_.of(root).end());
      group_.meet();
      std::copy(copy.begin(), copy.end(), buffer.begin());
      group_.meet();
    }
    void barrier() override { group_.meet(); }

   private:
    ThreadGroup& group_;
    const int rank_;
  };

  void publish(int rank, std::span<std::byte> buffer) {
    buffers_[static_cast<std::size_t>(rank)] = buffer;
    meet();
    ATHANOR_ASSERT(buffer.size() == buffers_[0].size());
  }
  std::span<std::byte> of(int rank) const { return buffers_[static_cast<std::size_t>(rank)]; }

  void meet() {
    std::unique_lock lock(mutex_);
    const auto round = round_;
    if (++arrived_ == size_) {
      arrived_ = 0;
      ++round_;
      all_here_.notify_all();
    } else {
      all_here_.wait(lock, [&] { return round_ != round || failure_; });
    }
    if (round_ == round) throw Error(ErrorKind::kUnavailable, "Another rank of the group has failed");
  }

  void break_up(std::exception_ptr failure) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::move(failure);
    all_here_.notify_all();
  }

  const int size_;
  std::vector<std::span<std::byte>> buffers_;  // by rank; written before a meeting, read after
  std::mutex mutex_;                           // guards what follows
  std::condition_variable all_here_;
  std::uint64_t round_ = 0;
  int arrived_ = 0;
  std::exception_ptr failure_;  // the first
};

}  // namespace athanor::parallel
