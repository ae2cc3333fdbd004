#include "platform/compute/cleaner.h"

#include <chrono>
#include <utility>

#include "common/log.h"
#include "common/remove_tree.h"

namespace athanor::compute {
namespace {

constexpr int kRemoveAttemptsMax = 10;
constexpr int kRemovePause_ms = 100;

void remove_patiently(const std::string& path) {
  for (int attempt = 1;; ++attempt) {
    try {
      return remove_tree(path);
    } catch (const std::exception& error) {
      if (attempt == kRemoveAttemptsMax) return log::warning("compute", "{}", error.what());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kRemovePause_ms));
  }
}

}  // namespace

Cleaner::Cleaner() : thread_([this] { run(); }) {}

Cleaner::~Cleaner() {
  {
    const std::lock_guard hold(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Cleaner::remove(std::string path) {
  {
    const std::lock_guard hold(mutex_);
    queue_.push_back(std::move(path));
  }
  wake_.notify_one();
}

void Cleaner::run() {
  for (;;) {
    std::string path;
    {
      std::unique_lock hold(mutex_);
      wake_.wait(hold, [this] { return closing_ || !queue_.empty(); });
      if (queue_.empty()) return;
      path = std::move(queue_.front());
      queue_.pop_front();
    }
    remove_patiently(path);
  }
}

}  // namespace athanor::compute
