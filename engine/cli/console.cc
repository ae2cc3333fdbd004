#include "engine/cli/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "common/error.h"

namespace athanor::llm {

namespace {

bool moves_cursor() {
  static const bool moves = [] {
    const char* terminal = std::getenv("TERM");
    return ::isatty(STDOUT_FILENO) == 1 && terminal != nullptr && std::string_view(terminal) != "dumb";
  }();
  return moves;
}

bool status_shown = false;

void write_now(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace

void show_status(const std::function<std::string(std::size_t)>& text) {
  if (!moves_cursor()) return;
  winsize window{};
  const bool known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1;
  const std::size_t width = known ? window.ws_col - 1U : 79;
  write_now(fmt::format("\r\x1b[K{}", std::string_view(text(width)).substr(0, width)));
  status_shown = true;
}

void clear_status() {
  if (!status_shown) return;
  write_now("\r\x1b[K");
  status_shown = false;
}

void print(std::string_view text) {
  clear_status();
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return;
  if (errno == EPIPE) throw ReaderGone{};
  throw system_error(errno, "writing the result to standard output");
}

std::string format_seconds(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return "?";
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
}

}  // namespace athanor::llm
