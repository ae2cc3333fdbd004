#include "engine/tensor/operator_times.h"

#include <algorithm>

namespace athanor::tensor {

bool OperatorTimer::begin(std::string_view name) {
  name_ = name;
  start_ns_ = times_->clock_.monotonic_ns();
  return times_->depth_++ == 0;
}

void OperatorTimer::end() {
  if (--times_->depth_ > 0) return;
  auto& all = times_->all_;
  auto found = std::ranges::find(all, name_, &OperatorTime::name);
  if (found == all.end()) found = all.insert(all.end(), {.name = name_});
  ++found->calls;
  found->seconds += static_cast<double>(times_->clock_.monotonic_ns() - start_ns_) * 1e-9;
  found->work.bytes += work_.bytes;
  found->work.flops += work_.flops;
}

}  // namespace athanor::tensor
