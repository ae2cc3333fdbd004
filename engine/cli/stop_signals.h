// SIGTERM, SIGINT and, unless it is ignored (nohup), SIGHUP as a wish to stop. Before arm() they end the process at once,
// for there is nothing to save yet; after it the first sets stop(), and a second one ends the process. A file that is half
// made then can be removed with it.
//
// Construct it before any other thread: the signals are blocked in all threads that are started later, and one thread
// of its own waits for them. As the first process of a container gets no default handling, all of it is done here.
#pragma once

#include <atomic>
#include <string>
#include <thread>

namespace athanor::llm {

class StopSignals {
 public:
  // `unfinished` is removed when a signal ends the process; may be empty.
  explicit StopSignals(std::string unfinished = "");
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  void arm() { armed_ = true; }
  const std::atomic<bool>& stop() const { return stop_; }
  // The signal that came, or SIGTERM when another rank was told to stop.
  int signal() const { return signal_; }

 private:
  void wait();

  const std::string unfinished_;
  std::atomic<bool> armed_ = false;
  std::atomic<bool> stop_ = false;
  std::atomic<bool> ended_ = false;
  std::atomic<int> signal_;
  std::thread waiter_;
};

}  // namespace athanor::llm
