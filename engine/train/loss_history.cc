#include "engine/train/loss_history.h"

#include <algorithm>

#include "common/error.h"

namespace athanor::train {

void LossHistory::add(double loss) {
  if (count_ == kSize) {
    std::move(losses_.begin() + 1, losses_.end(), losses_.begin());
    --count_;
  }
  losses_[count_++] = loss;
}

double LossHistory::median() const {
  ATHANOR_ASSERT(count_ > 0);
  std::array<double, kSize> sorted = losses_;
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(count_ / 2);
  std::nth_element(sorted.begin(), middle, sorted.begin() + static_cast<std::ptrdiff_t>(count_));
  return *middle;
}

bool LossHistory::is_spike(double loss, double factor) const {
  return factor > 0 && count_ >= kNeeded && loss > factor * median();
}

}  // namespace athanor::train
