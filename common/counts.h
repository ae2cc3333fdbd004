// Counts in messages for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace athanor {

// "12,345,678"
std::string format_count(std::int64_t count);
// "1 step", "12,345 steps"; `noun` is one whose plural ends in s alone.
std::string format_count(std::int64_t count, std::string_view noun);

}  // namespace athanor
