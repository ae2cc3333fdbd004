// Python's methods of str, on texts whose bytes know their origin. Characters are code points. What takes no budget takes
// time and memory in proportion to its text, which its caller pays for.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "engine/model/tokenizer/jinja/value.h"

namespace athanor::model::jinja {

// Where each character begins, and the end.
std::vector<std::size_t> character_starts(std::string_view text);
std::size_t character_count(std::string_view text);

// Without the characters of `characters` at the ends; nothing given: without white space.
Text strip(const Text& text, const std::optional<std::string>& characters, bool left, bool right);
// At `separator`, or at runs of white space when none is given; at most `most` times (negative: any).
List split(const Text& text, const std::optional<std::string>& separator, std::int64_t most, bool from_right,
           Budget& budget);
List split_lines(const Text& text, bool keep_ends, Budget& budget);
Text replace(const Text& text, std::string_view from, const Text& to, std::int64_t most, Budget& budget);
enum class LetterCase { kUpper, kLower, kTitle, kCapitalized, kSwapped };
Text in_case(const Text& text, LetterCase wanted);
Text indent(const Text& text, const Text& width, bool first, bool blank, Budget& budget);
Text join(const List& items, const Text& separator, Budget& budget);
// Where `wanted` first stands at or after `from`, in time linear in both; npos: nowhere.
std::size_t find_text(std::string_view text, std::string_view wanted, std::size_t from = 0);

// The method of a text; nothing when there is none of that name. Throws kInvalid.
std::optional<Value> text_method(const Text& text, std::string_view name, const Arguments& arguments, Budget& budget);
bool is_text_method(std::string_view name);

}  // namespace athanor::model::jinja
