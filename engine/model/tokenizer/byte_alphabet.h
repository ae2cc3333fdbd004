// GPT-2's byte alphabet: each of the 256 bytes has a printable character, so that tokens, which are bytes, can stand in
// JSON as text. Printable Latin-1 stands for itself; the other 68 bytes are U+0100 … in order (a space is "Ġ").
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace athanor::model {

// The character of each byte.
const std::array<char32_t, 256>& byte_characters();

// Bytes as text of the alphabet.
std::string bytes_to_alphabet(std::string_view bytes);
// Text of the alphabet as bytes; nothing when a character is none of the alphabet's.
std::optional<std::string> alphabet_to_bytes(std::string_view text);

}  // namespace athanor::model
