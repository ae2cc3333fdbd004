// Time as a seam: everything that decides by time takes a Clock, so that tests and the simulator own it.
#pragma once

#include <atomic>
#include <cstdint>

namespace athanor {

class Clock {
 public:
  virtual ~Clock() = default;
  // Milliseconds since 1970-01-01 UTC. May step; for what people and protocols see.
  virtual std::int64_t wall_ms() const = 0;
  // Nanoseconds since an arbitrary start. Never steps back; for durations.
  virtual std::int64_t monotonic_ns() const = 0;
};

// The machine's own clock. Any thread.
class SystemClock final : public Clock {
 public:
  std::int64_t wall_ms() const override;
  std::int64_t monotonic_ns() const override;
};

// A clock that moves only when told. Any thread.
class VirtualClock final : public Clock {
 public:
  explicit VirtualClock(std::int64_t wall_ms) : start_ms_(wall_ms) {}
  std::int64_t wall_ms() const override { return start_ms_ + elapsed_ns_ / 1'000'000; }
  std::int64_t monotonic_ns() const override { return elapsed_ns_; }
  void advance_ms(std::int64_t by_ms) { elapsed_ns_ += by_ms * 1'000'000; }

 private:
  const std::int64_t start_ms_;
  std::atomic<std::int64_t> elapsed_ns_ = 0;
};

}  // namespace athanor
