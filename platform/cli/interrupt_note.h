// What a person is told who interrupts the watching of a job: that the job goes on.
#pragma once

#include <string>

namespace athanor::cli {

// While it lives, Ctrl-C writes that to standard error and ends the process with kInterrupted. On the main thread.
class InterruptNote {
 public:
  explicit InterruptNote(const std::string& job);
  ~InterruptNote();
  InterruptNote(const InterruptNote&) = delete;
  InterruptNote& operator=(const InterruptNote&) = delete;

 private:
  void (*before_)(int);
};

}  // namespace athanor::cli
