#include "engine/model/tokenizer/utf8.h"

#include <cstdint>
#include <cstring>

namespace athanor::model {

namespace {

struct Character {
  std::size_t size = 0;      // of the character; 0 when it is broken
  std::size_t consumed = 0;  // when broken: the maximal part that one U+FFFD stands for
  bool incomplete = false;   // broken only because the text ends
};

// Unicode's table 3-7: which second bytes each first byte allows.
Character next_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {1, 1, false};
  std::size_t size;
  unsigned char low = 0x80, high = 0xbf;
  if (first >= 0xc2 && first <= 0xdf) {
    size = 2;
  } else if (first >= 0xe0 && first <= 0xef) {
    size = 3;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
  } else if (first >= 0xf0 && first <= 0xf4) {
    size = 4;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
  } else {
    return {0, 1, false};
  }
  for (std::size_t i = 1; i < size; ++i) {
    if (i == text.size()) return {0, i, true};
    if (byte(i) < low || byte(i) > high) return {0, i, false};
    low = 0x80;
    high = 0xbf;
  }
  return {size, size, false};
}

}  // namespace

std::size_t utf8_valid_prefix(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    while (at + 8 <= text.size()) {  // ASCII, eight at a time
      std::uint64_t eight;
      std::memcpy(&eight, text.data() + at, 8);
      if ((eight & 0x8080808080808080u) != 0) break;
      at += 8;
    }
    if (at == text.size()) break;
    const Character character = next_character(text.substr(at));
    if (character.size == 0) break;
    at += character.size;
  }
  return at;
}

std::size_t utf8_broken_prefix(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const Character character = next_character(text.substr(at));
    if (character.size != 0) break;
    at += character.consumed;
  }
  return at;
}

std::string utf8_repaired(std::string_view text) {
  std::string repaired;
  repaired.reserve(text.size());
  while (!text.empty()) {
    const std::size_t valid = utf8_valid_prefix(text);
    repaired.append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) break;
    repaired.append("\xef\xbf\xbd");
    text.remove_prefix(next_character(text).consumed);
  }
  return repaired;
}

void utf8_append(char32_t codepoint, std::string& text) {
  const auto push = [&](char32_t bits) { text.push_back(static_cast<char>(bits)); };
  if (codepoint < 0x80) {
    push(codepoint);
  } else if (codepoint < 0x800) {
    push(0xc0 | codepoint >> 6);
    push(0x80 | (codepoint & 0x3f));
  } else if (codepoint < 0x10000) {
    push(0xe0 | codepoint >> 12);
    push(0x80 | (codepoint >> 6 & 0x3f));
    push(0x80 | (codepoint & 0x3f));
  } else {
    push(0xf0 | codepoint >> 18);
    push(0x80 | (codepoint >> 12 & 0x3f));
    push(0x80 | (codepoint >> 6 & 0x3f));
    push(0x80 | (codepoint & 0x3f));
  }
}

std::string Utf8Stream::add(std::string_view bytes) {
  pending_.append(bytes);
  std::size_t whole = pending_.size();
  for (std::size_t back = 1; back <= 3 && back <= pending_.size(); ++back) {
    const std::size_t at = pending_.size() - back;
    if ((static_cast<unsigned char>(pending_[at]) & 0xc0) == 0x80) continue;  // inside a character: look further back
    if (next_character(std::string_view(pending_).substr(at)).incomplete) whole = at;
    break;
  }
  std::string ready = utf8_repaired(std::string_view(pending_).substr(0, whole));
  pending_.erase(0, whole);
  return ready;
}

std::string Utf8Stream::finish() {
  std::string rest = utf8_repaired(pending_);
  pending_.clear();
  return rest;
}

}  // namespace athanor::model
