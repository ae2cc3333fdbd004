#include "platform/cli/interrupt_note.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "platform/cli/exit_code.h"

namespace athanor::cli {
namespace {

// Prepared before, for a signal handler may not.
char interrupt_note[512];

void on_interrupt(int) {
  [[maybe_unused]] const ssize_t written =
      write(STDERR_FILENO, interrupt_note, strnlen(interrupt_note, sizeof interrupt_note));
  _exit(kInterrupted);
}

}  // namespace

InterruptNote::InterruptNote(const std::string& job) {
  const std::string text =
      fmt::format("\n{} goes on. Watch it: athanor describe --wait {}   End it: athanor stop {}\n", job, job, job);
  interrupt_note[text.copy(interrupt_note, std::min(text.size(), sizeof interrupt_note - 1))] = '\0';
  before_ = signal(SIGINT, on_interrupt);
}

InterruptNote::~InterruptNote() { signal(SIGINT, before_); }

}  // namespace athanor::cli
