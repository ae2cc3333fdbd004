#include "engine/model/tokenizer/byte_alphabet.h"

#include <cstdint>

#include "engine/model/tokenizer/utf8.h"

namespace athanor::model {

namespace {

constexpr bool stands_for_itself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

constexpr char32_t kAlphabetEnd = 0x100 + 68;

struct Alphabet {
  std::array<char32_t, 256> of_byte{};
  std::array<std::int16_t, kAlphabetEnd> of_character{};
  Alphabet() {
    of_character.fill(-1);
    char32_t next = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const char32_t character = stands_for_itself(byte) ? static_cast<char32_t>(byte) : next++;
      of_byte[static_cast<std::size_t>(byte)] = character;
      of_character[character] = static_cast<std::int16_t>(byte);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

}  // namespace

const std::array<char32_t, 256>& byte_characters() { return alphabet().of_byte; }

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() + bytes.size() / 2);
  for (const char byte : bytes) utf8_append(alphabet().of_byte[static_cast<unsigned char>(byte)], text);
  return text;
}

std::optional<std::string> alphabet_to_bytes(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    // The whole alphabet lies below U+0800: one or two bytes of UTF-8.
    const auto first = static_cast<unsigned char>(text[at]);
    char32_t character = first;
    if (first >= 0x80) {
      if ((first & 0xe0) != 0xc0 || at + 1 == text.size()) return std::nullopt;
      character = (first & 0x1fu) << 6 | (static_cast<unsigned char>(text[at + 1]) & 0x3fu);
      ++at;
    }
    ++at;
    if (character >= kAlphabetEnd || alphabet().of_character[character] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(alphabet().of_character[character]));
  }
  return bytes;
}

}  // namespace athanor::model
