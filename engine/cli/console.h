// Lines for people and for logs, on standard output, each written at once: who reads along sees it now.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

namespace athanor::llm {

template <typename... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  const std::string line = fmt::format(format, std::forward<Args>(args)...) + "\n";
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fflush(stdout);
}

// "45 s", "12 min 5 s", "3 h 20 min"
std::string format_seconds(double seconds);
// "12,345,678"
std::string format_count(std::int64_t count);

}  // namespace athanor::llm
