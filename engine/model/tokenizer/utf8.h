// UTF-8, where it matters to a tokenizer: text may be broken anywhere, and tokens may end inside a character.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace athanor::model {

// Bytes of the longest prefix that is valid UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF).
std::size_t utf8_valid_prefix(std::string_view text);

// Bytes at the start of `text` that belong to no character; 0 when it starts with a whole one (or is empty).
std::size_t utf8_broken_prefix(std::string_view text);

// Every broken sequence replaced by U+FFFD, as the Unicode standard recommends (one for each maximal part).
std::string utf8_repaired(std::string_view text);

void utf8_append(char32_t codepoint, std::string& text);

// Turns bytes that arrive in pieces into text that is whole characters at any time.
class Utf8Stream {
 public:
  // What can be shown of everything added so far and not yet returned. At most 3 bytes stay behind.
  std::string add(std::string_view bytes);
  // The rest, at the end: U+FFFD for an incomplete character.
  std::string finish();

 private:
  std::string pending_;
};

}  // namespace athanor::model
