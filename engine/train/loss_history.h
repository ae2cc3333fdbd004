// The losses of the last steps, to tell a spike from what is usual. Part of a run's state: a run that is stopped and
// resumed sees the same spikes as one that never stopped.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace athanor::train {

class LossHistory {
 public:
  static constexpr std::size_t kSize = 64;
  static constexpr std::size_t kNeeded = 16;  // before that nothing is a spike

  // Keeps the newest kSize.
  void add(double loss);
  std::size_t size() const { return count_; }
  // Oldest first.
  std::span<const double> losses() const { return {losses_.data(), count_}; }
  // Of at least one loss.
  double median() const;
  // Whether `loss` is above `factor` times the median. Never with a factor of 0, or before kNeeded losses.
  bool is_spike(double loss, double factor) const;

 private:
  std::array<double, kSize> losses_{};
  std::size_t count_ = 0;
};

}  // namespace athanor::train
