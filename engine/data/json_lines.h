// A file of lines, each a JSON value of its own (JSONL), read piece by piece: a file may be larger than memory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "common/files.h"

namespace athanor::data {

inline constexpr std::size_t kLineBytesMax = 64 << 20;

// Calls `line` with every line that is not blank, without its end, and with its name for errors: "chats.jsonl, line 17".
// A byte order mark at the start is passed over. Throws kInvalid for a line of more than kLineBytesMax.
void for_each_line(Files& files, const std::string& path,
                   const std::function<void(std::string_view line, const std::string& source)>& line);

}  // namespace athanor::data
