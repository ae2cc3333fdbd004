// Standard output: lines of progress for people and for logs, and results. Each is written at once: who reads along sees
// it now. On a terminal a status may stand below them.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace athanor::llm {

// Shows a line that tells how far something is: what `text` gives for the terminal's width, cut to it. The next one, or anything
// else that is said, takes its place. Nothing where standard output is not a terminal that moves its cursor.
void show_status(const std::function<std::string(std::size_t width)>& text);
// Takes it away: before anything is written past this header.
void clear_status();

// Nobody reads what is printed (`| head`): the command ends, and has not failed.
struct ReaderGone {};

// What the command was run for. Throws ReaderGone, and an Error when it cannot be written: nobody must take half a result for
// a whole one.
void print(std::string_view text);

// A line of progress. One that is lost is no reason to give up what is being made.
template <typename... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  const std::string line = fmt::format(format, std::forward<Args>(args)...) + "\n";
  clear_status();
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fflush(stdout);
}

// "45 s", "12 min 5 s", "3 h 20 min"
std::string format_seconds(double seconds);

}  // namespace athanor::llm
