// Case and blanks in the text of HTTP's headers. ASCII alone: other bytes stay as they are, whatever the locale.
#pragma once

#include <string>
#include <string_view>

namespace athanor::wire {

std::string lower_case(std::string_view text);
bool equal_without_case(std::string_view a, std::string_view b);
bool starts_with_without_case(std::string_view text, std::string_view prefix);
// Without blanks and tabs at its ends.
std::string_view trimmed(std::string_view text);

}  // namespace athanor::wire
