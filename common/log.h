// The program's own log, to standard error and optionally a file: one line an event, with time, level and room.
// (What a training job prints is data, not log; it goes through platform/node to platform/storage.)
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace athanor::log {

enum class Level { kDebug, kInfo, kWarning, kError };

// Once, at the start of main: `program` stands in each line; nothing below `least` is written; `file` may be empty.
// At 16 MiB the file becomes NAME.1.EXTENSION, that one NAME.2.EXTENSION, and that one goes.
void open(std::string_view program, Level least, const std::string& file);
// To the file alone, where standard error is for people.
void open_quietly(std::string_view program, Level least, const std::string& file);

void write(Level level, std::string_view room, std::string_view text);

template <typename... Args>
void debug(std::string_view room, fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kDebug, room, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(std::string_view room, fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kInfo, room, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warning(std::string_view room, fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kWarning, room, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(std::string_view room, fmt::format_string<Args...> format, Args&&... args) {
  write(Level::kError, room, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace athanor::log
