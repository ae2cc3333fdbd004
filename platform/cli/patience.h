// For commands that follow a job: a server that is restarted or upgraded meanwhile is waited for, since its jobs go on.
#pragma once

#include <chrono>
#include <thread>

#include "common/error.h"

namespace athanor::cli {

// Calls again for a minute while no server answers, then throws as `call` does.
template <typename Call>
auto patiently(const Call& call) {
  constexpr auto kPause = std::chrono::milliseconds(250);
  constexpr int kTriesMax = 240;
  for (int tries = 1;; ++tries) {
    try {
      return call();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kUnavailable || tries == kTriesMax) throw;
    }
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace athanor::cli
