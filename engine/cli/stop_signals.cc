#include "engine/cli/stop_signals.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "engine/cli/console.h"

namespace athanor::llm {

namespace {

sigset_t stop_set() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  struct sigaction hangup {};
  ::sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaddset(&set, SIGHUP);  // nohup ignores it
  return set;
}

}  // namespace

StopSignals::StopSignals(std::string unfinished) : unfinished_(std::move(unfinished)), signal_(SIGTERM) {
  const sigset_t set = stop_set();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  waiter_ = std::thread([this] { wait(); });
}

StopSignals::~StopSignals() {
  ended_ = true;
  waiter_.join();
}

void StopSignals::wait() {
  const sigset_t set = stop_set();
  const timespec pause{0, 50'000'000};
  while (!ended_) {
    const int received = sigtimedwait(&set, nullptr, &pause);
    if (received < 0) continue;  // nothing came in this while
    if (!armed_ || stop_) {
      if (!unfinished_.empty()) ::unlink(unfinished_.c_str());
      say("{} by a signal", stop_ || !unfinished_.empty() ? "Ended" : "Stopped before training began,");
      _exit(128 + received);
    }
    signal_ = received;
    stop_ = true;
  }
}

}  // namespace athanor::llm
