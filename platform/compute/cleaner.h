// Does the work that takes long and that nobody waits for: removing folders, on a thread of its own.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

namespace athanor::compute {

class Cleaner {
 public:
  Cleaner();
  // Removes what is queued first.
  ~Cleaner();
  // Patiently: a sandbox whose agent was killed may still be dying, and writing. What cannot be removed is logged.
  void remove(std::string path);

 private:
  void run();

  std::mutex mutex_;  // guards the next three
  std::condition_variable wake_;
  std::deque<std::string> queue_;
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace athanor::compute
