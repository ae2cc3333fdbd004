// Paths that come from elsewhere (keys, messages, requests) and are to stay below a folder of ours.
#pragma once

#include <string_view>

namespace athanor {

// Whether `path` is names joined by single '/', none of them empty, "." or "..", without a NUL: behind any folder's path it
// names something below that folder (as long as no link there leads out).
constexpr bool is_relative_path(std::string_view path) {
  while (true) {
    const auto slash = path.find('/');
    const std::string_view name = path.substr(0, slash);
    if (name.empty() || name == "." || name == ".." || name.find('\0') != std::string_view::npos) return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

// Whether `name` is one of those names, and as long as file systems take.
constexpr bool is_file_name(std::string_view name) {
  return name.size() <= 255 && is_relative_path(name) && name.find('/') == std::string_view::npos;
}

}  // namespace athanor
