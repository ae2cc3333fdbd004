// Case and blanks in the text of HTTP's headers. ASCII alone: other bytes stay as they are, whatever the locale.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace athanor::wire {

std::string lower_case(std::string_view text);
bool equal_without_case(std::string_view a, std::string_view b);
bool starts_with_without_case(std::string_view text, std::string_view prefix);
// Without blanks and tabs at its ends.
std::string_view trimmed(std::string_view text);
// Calls `visit` with each piece between separators; an empty text is one empty piece.
template <typename Visit>
void for_each_piece(std::string_view text, char separator, Visit visit) {
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(separator, at), text.size());
    visit(text.substr(at, end - at));
    at = end + 1;
  }
}

}  // namespace athanor::wire
