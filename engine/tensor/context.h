// Where and with what operators run: the device, its threads, and the products prepared for it. Every operator takes a
// Context first. On the CPU, operators have finished when they return; on a GPU they would be queued on its stream, and
// synchronize() waits for them: call it before reading results in code that must work on both.
//
// A Context belongs to one thread at a time. Results are the same for the same number of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace athanor::tensor {

class OperatorTimes;

enum class Device { kCpu };

class Context {
 public:
  static constexpr int kThreadsMax = 1024;
  // `threads` 0: one for each CPU that this process may run on (its affinity mask). Throws kInvalid for more than kThreadsMax.
  explicit Context(int threads = 0);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Device device() const { return Device::kCpu; }
  int threads() const;
  void synchronize() {}

  // Calls body(begin, end, thread) on up to threads() threads with consecutive ranges that cover [0, count), each a
  // multiple of `grain` but for the last. Which thread gets which range depends on nothing else. Returns when all have;
  // the exception of the first range whose body threw one is thrown on, and the others' are dropped.
  void parallel(std::int64_t count, std::int64_t grain,
                const std::function<void(std::int64_t begin, std::int64_t end, int thread)>& body);

  // Where the operators' times are recorded from here on (operator_times.h), or null, as at first: nowhere. It must outlive
  // its use here; change it only between operators.
  void record(OperatorTimes* times) { operator_times_ = times; }
  OperatorTimes* operator_times() const { return operator_times_; }

  // What operators keep with the context: matrix products prepared by shape (tensor/cpu/matmul.cc).
  struct Products;
  Products& products();

 private:
  struct State;
  std::unique_ptr<State> state_;
  OperatorTimes* operator_times_ = nullptr;
};

// CPUs in this process's affinity mask.
int available_cpus();

}  // namespace athanor::tensor
