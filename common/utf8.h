// UTF-8 as Unicode defines it (Unicode 15, table 3-7): no overlong forms, no surrogates, nothing above U+10FFFF. Pure.
#pragma once

#include <cstddef>
#include <string_view>

namespace athanor {

struct Utf8Step {
  std::size_t bytes = 0;  // at least 1
  bool is_character = false;
};

// The character at the front of `text`, which is not empty; or, when there is none, as many bytes as one replacement
// character stands for (the "maximal subpart").
Utf8Step utf8_step(std::string_view text);

bool is_utf8(std::string_view text);

// Characters, what is not one counting as its replacements.
std::size_t count_characters(std::string_view text);

}  // namespace athanor
