// What the operators of a context take: how often each was called, how long, and how much work that was. For finding where
// the time goes; a context that records nothing pays a comparison a call.
//
// Every operator says at its entry, in one place, what it is called and what its work is:
//
//   const OperatorTimer timer(context, "swiglu forward", [&] { return bytes_of(gate_up, y); });
//
// An operator that others are made of (the head with its products) has their time; they are not counted again.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "common/clock.h"
#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

// What an operator cannot do without: each tensor that it reads or writes moved once (twice where it does both), and the
// multiplications and additions of its products. Those of element-wise operators are not counted: their limit is memory.
struct Work {
  double bytes = 0;
  double flops = 0;
};

struct OperatorTime {
  std::string_view name;  // of static storage
  std::int64_t calls = 0;
  double seconds = 0;
  Work work;
};

// One thread, the context's.
class OperatorTimes {
 public:
  // `clock` must outlive it.
  explicit OperatorTimes(const Clock& clock) : clock_(clock) {}
  // In the order of their first calls.
  const std::vector<OperatorTime>& all() const { return all_; }
  void clear() { all_.clear(); }

 private:
  friend class OperatorTimer;
  const Clock& clock_;
  std::vector<OperatorTime> all_;
  int depth_ = 0;  // of operators that run
};

// From its construction to its end an operator runs. `work` is called, at its begin, only when it is recorded.
class OperatorTimer {
 public:
  template <class WorkOf>
  OperatorTimer(Context& context, std::string_view name, const WorkOf& work) : times_(context.operator_times()) {
    if (times_ != nullptr && begin(name)) work_ = work();
  }
  ~OperatorTimer() {
    if (times_ != nullptr) end();
  }
  OperatorTimer(const OperatorTimer&) = delete;
  OperatorTimer& operator=(const OperatorTimer&) = delete;

 private:
  bool begin(std::string_view name);
  void end();

  OperatorTimes* times_;
  std::string_view name_;
  Work work_;
  std::int64_t start_ns_ = 0;
};

// Of elements; a tensor that there is not has none.
template <class... Tensors>
Work bytes_of(const Tensors&... tensors) {
  return {.bytes = (0.0 + ... + (tensors ? static_cast<double>(tensors.bytes()) : 0.0))};
}

}  // namespace athanor::tensor
