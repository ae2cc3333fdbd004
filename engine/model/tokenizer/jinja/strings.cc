#include "engine/model/tokenizer/jinja/strings.h"

#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <set>

#include "common/error.h"
#include "engine/model/tokenizer/utf8.h"

namespace athanor::model::jinja {

namespace {

UChar32 character_at(std::string_view text, std::size_t at, std::size_t& end) {
  std::int32_t i = 0;
  UChar32 c;
  U8_NEXT(reinterpret_cast<const std::uint8_t*>(text.data() + at), i,
          static_cast<std::int32_t>(std::min<std::size_t>(text.size() - at, 8)), c);
  end = at + static_cast<std::size_t>(i);
  return c;
}

bool white(UChar32 c) { return c >= 0 && (u_isUWhiteSpace(c) || (c >= 0x1c && c <= 0x1f)); }

std::optional<std::string> text_argument(const Arguments& arguments, std::size_t index, std::string_view name) {
  const Value value = arguments.get(index, name, None{});
  if (value.none()) return std::nullopt;
  if (!value.text()) {
    throw Error(ErrorKind::kInvalid, "a text was expected as argument, not a value of the kind {}", kind_name(value));
  }
  return value.text()->bytes;
}

std::int64_t integer_argument(const Arguments& arguments, std::size_t index, std::string_view name,
                              std::int64_t otherwise) {
  const Value value = arguments.get(index, name, otherwise);
  if (!value.number()) {
    throw Error(ErrorKind::kInvalid, "a number was expected as argument, not a value of the kind {}", kind_name(value));
  }
  return value.as_integer();
}

// startswith and endswith take a text or several.
bool any_of(const Value& wanted, Budget& budget, const std::function<bool(std::string_view)>& holds) {
  if (const Text* text = wanted.text()) return holds(text->bytes);
  if (const List* list = wanted.list()) {
    return std::any_of(list->begin(), list->end(), [&](const Value& item) {
      if (!item.text()) return false;
      budget.spend(Budget::kItem + item.text()->bytes.size());
      return holds(item.text()->bytes);
    });
  }
  throw Error(ErrorKind::kInvalid, "a text was expected as argument, not a value of the kind {}", kind_name(wanted));
}

std::size_t find_last(std::string_view text, std::string_view wanted) {
  const std::size_t at =
      find_text(std::string(text.rbegin(), text.rend()), std::string(wanted.rbegin(), wanted.rend()));
  return at == std::string_view::npos ? at : text.size() - at - wanted.size();
}

std::int64_t find_in(std::string_view text, std::string_view wanted, bool last) {
  const std::size_t at = last ? find_last(text, wanted) : find_text(text, wanted);
  return at == std::string_view::npos ? -1 : static_cast<std::int64_t>(character_count(text.substr(0, at)));
}

bool all_characters(std::string_view text, bool (*holds)(UChar32)) {
  for (std::size_t at = 0, end; at < text.size(); at = end) {
    if (!holds(character_at(text, at, end))) return false;
  }
  return !text.empty();
}

Text padded(const Text& text, std::int64_t width, std::string_view filler, int side, Budget& budget) {
  if (character_count(filler) != 1) throw Error(ErrorKind::kInvalid, "a text is filled up with a single character");
  const auto length = static_cast<std::int64_t>(character_count(text.bytes));
  Text made;
  const std::int64_t missing = std::max<std::int64_t>(length, width) - length;
  budget.spend(static_cast<std::uint64_t>(missing), filler.size());
  const std::int64_t left = side < 0 ? missing : side > 0 ? 0 : missing / 2 + (missing & width & 1);
  for (std::int64_t i = 0; i < left; ++i) made.append(filler);
  made.append(text);
  for (std::int64_t i = left; i < missing; ++i) made.append(filler);
  return made;
}

constexpr Signature kMethods[] = {
    {"strip", {"chars"}},
    {"lstrip", {"chars"}},
    {"rstrip", {"chars"}},
    {"split", {"sep", "maxsplit"}},
    {"rsplit", {"sep", "maxsplit"}},
    {"splitlines", {"keepends"}},
    {"startswith", {"prefix", "start", "end"}},
    {"endswith", {"suffix", "start", "end"}},
    {"replace", {"old", "new", "count"}},
    {"upper", {}},
    {"lower", {}},
    {"title", {}},
    {"capitalize", {}},
    {"swapcase", {}},
    {"find", {"sub", "start", "end"}},
    {"rfind", {"sub", "start", "end"}},
    {"index", {"sub", "start", "end"}},
    {"count", {"sub", "start", "end"}},
    {"join", {"iterable"}},
    {"isdigit", {}},
    {"isnumeric", {}},
    {"isdecimal", {}},
    {"isalpha", {}},
    {"isalnum", {}},
    {"isspace", {}},
    {"isupper", {}},
    {"islower", {}},
    {"removeprefix", {"prefix"}},
    {"removesuffix", {"suffix"}},
    {"ljust", {"width", "fillchar"}},
    {"rjust", {"width", "fillchar"}},
    {"center", {"width", "fillchar"}},
    {"zfill", {"width"}},
    {"partition", {"sep"}},
    {"rpartition", {"sep"}},
};

// The bytes of text that the arguments `start` and `end` (the second and third) leave, as Python's slices are cut; nothing
// when the start lies behind the text. `characters`: those before it.
std::optional<std::string_view> part_of(const Text& text, const Arguments& arguments, std::int64_t& characters) {
  characters = 0;
  if (!arguments.has(1, "start") && !arguments.has(2, "end")) return text.bytes;
  const std::vector<std::size_t> starts = character_starts(text.bytes);
  const auto count = static_cast<std::int64_t>(starts.size()) - 1;
  const auto placed = [&](std::size_t index, std::string_view name, std::int64_t otherwise) {
    if (arguments.get(index, name, None{}).none()) return otherwise;
    const std::int64_t at = integer_argument(arguments, index, name, otherwise);
    return at < 0 ? std::max<std::int64_t>(0, at + count) : at;
  };
  characters = placed(1, "start", 0);
  const std::int64_t end = std::min(count, placed(2, "end", count));
  if (characters > end) return std::nullopt;
  const std::size_t begin = starts[static_cast<std::size_t>(characters)];
  return std::string_view(text.bytes).substr(begin, starts[static_cast<std::size_t>(end)] - begin);
}

}  // namespace

std::vector<std::size_t> character_starts(std::string_view text) {
  std::vector<std::size_t> starts;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) starts.push_back(i);
  }
  starts.push_back(text.size());
  return starts;
}

std::size_t character_count(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

Text strip(const Text& text, const std::optional<std::string>& characters, bool left, bool right) {
  const std::string& bytes = text.bytes;
  std::set<std::string_view> stripped;
  if (characters) {
    const std::string_view set = *characters;
    const std::vector<std::size_t> at = character_starts(set);
    for (std::size_t i = 0; i + 1 < at.size(); ++i) stripped.insert(set.substr(at[i], at[i + 1] - at[i]));
  }
  const auto goes = [&](std::size_t begin, std::size_t end) {
    std::size_t ignored;
    return characters ? stripped.count(std::string_view(bytes).substr(begin, end - begin)) != 0
                      : white(character_at(bytes, begin, ignored));
  };
  const auto continues = [&](std::size_t at) { return (static_cast<unsigned char>(bytes[at]) & 0xc0) == 0x80; };
  std::size_t first = 0, last = bytes.size();
  while (left && first < last) {
    std::size_t next = first + 1;
    while (next < last && continues(next)) ++next;
    if (!goes(first, next)) break;
    first = next;
  }
  while (right && first < last) {
    std::size_t before = last - 1;
    while (before > first && continues(before)) --before;
    if (!goes(before, last)) break;
    last = before;
  }
  return text.slice(first, last);
}

List split(const Text& text, const std::optional<std::string>& separator, std::int64_t most, bool from_right,
           Budget& budget) {
  const std::string& bytes = text.bytes;
  std::vector<std::pair<std::size_t, std::size_t>> parts;
  if (separator) {
    if (separator->empty()) throw Error(ErrorKind::kInvalid, "a text cannot be split at an empty separator");
    if (!from_right) {
      std::size_t at = 0;
      for (std::size_t found; most != 0 && (found = find_text(bytes, *separator, at)) != std::string::npos; --most) {
        parts.emplace_back(at, found);
        at = found + separator->size();
      }
      parts.emplace_back(at, bytes.size());
    } else {
      // Forward in the texts turned round.
      const std::string turned(bytes.rbegin(), bytes.rend()), sought(separator->rbegin(), separator->rend());
      std::size_t end = bytes.size();
      for (; most != 0; --most) {
        const std::size_t found = find_text(turned, sought, bytes.size() - end);
        if (found == std::string::npos) break;
        const std::size_t after = bytes.size() - found;
        parts.emplace_back(after, end);
        end = after - sought.size();
      }
      parts.emplace_back(0, end);
      std::reverse(parts.begin(), parts.end());
    }
  } else {
    std::vector<std::pair<std::size_t, std::size_t>> words;
    std::size_t begin = 0;
    bool inside = false;
    for (std::size_t at = 0, end; at < bytes.size(); at = end) {
      const bool space = white(character_at(bytes, at, end));
      if (!space && !inside) begin = at;
      if (space && inside) words.emplace_back(begin, at);
      inside = !space;
    }
    if (inside) words.emplace_back(begin, bytes.size());
    const auto count = static_cast<std::int64_t>(words.size());
    if (most >= 0 && most < count) {
      if (from_right) {
        const Text rest =
            strip(text.slice(0, words[static_cast<std::size_t>(count - most - 1)].second), std::nullopt, false, true);
        parts.emplace_back(0, rest.bytes.size());
        parts.insert(parts.end(), words.end() - most, words.end());
      } else {
        parts.assign(words.begin(), words.begin() + most);
        parts.emplace_back(words[static_cast<std::size_t>(most)].first, bytes.size());
      }
    } else {
      parts = std::move(words);
    }
  }
  budget.spend(parts.size(), Budget::kItem);
  List list;
  for (const auto& [begin, end] : parts) list.push_back(text.slice(begin, end));
  return list;
}

List split_lines(const Text& text, bool keep_ends, Budget& budget) {
  List lines;
  const std::string& bytes = text.bytes;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t end = std::min(bytes.find_first_of("\r\n\v\f\x1c\x1d\x1e", at), bytes.size());
    std::size_t next = std::min(end + 1, bytes.size());
    if (end + 1 < bytes.size() && bytes[end] == '\r' && bytes[end + 1] == '\n') ++next;
    budget.spend(1, Budget::kItem);
    lines.push_back(text.slice(at, keep_ends ? next : end));
    at = next;
  }
  return lines;
}

std::size_t find_text(std::string_view text, std::string_view wanted, std::size_t from) {
  if (from > text.size()) return std::string_view::npos;
  if (wanted.empty()) return from;
  // std::string's takes the product of both sizes for some.
  const void* found = memmem(text.data() + from, text.size() - from, wanted.data(), wanted.size());
  return found ? static_cast<std::size_t>(static_cast<const char*>(found) - text.data()) : std::string_view::npos;
}

Text replace(const Text& text, std::string_view from, const Text& to, std::int64_t most, Budget& budget) {
  Text made;
  const std::string& bytes = text.bytes;
  if (from.empty()) {
    const std::vector<std::size_t> starts = character_starts(bytes);
    for (std::size_t i = 0; i < starts.size(); ++i) {
      if (most-- != 0) {
        budget.spend(to.bytes.size());
        made.append(to);
      }
      if (i + 1 < starts.size()) made.append(text, starts[i], starts[i + 1]);
    }
    return made;
  }
  std::size_t at = 0;
  for (std::size_t found; most != 0 && (found = find_text(bytes, from, at)) != std::string::npos; --most) {
    budget.spend(to.bytes.size());
    made.append(text, at, found);
    made.append(to);
    at = found + from.size();
  }
  made.append(text, at, bytes.size());
  return made;
}

Text in_case(const Text& text, LetterCase wanted) {
  // Character by character, so that each keeps its origin; one that becomes several gives its own to all.
  Text made;
  bool after_letter = false;
  for (std::size_t at = 0, end; at < text.bytes.size(); at = end) {
    const UChar32 c = character_at(text.bytes, at, end);
    const bool first = at == 0;
    bool upper = wanted == LetterCase::kUpper;
    if (wanted == LetterCase::kTitle) upper = !after_letter;
    if (wanted == LetterCase::kCapitalized) upper = first;
    if (wanted == LetterCase::kSwapped) upper = u_isULowercase(c);
    after_letter = u_hasBinaryProperty(c, UCHAR_CASED);
    if (c < 0) {
      made.append(text, at, end);
      continue;
    }
    if (c < 0x80) {
      const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      const char written = static_cast<char>(!letter ? c : upper ? c & ~0x20 : c | 0x20);
      made.append(std::string_view(&written, 1), text.origin(at));
      continue;
    }
    icu::UnicodeString letter(c);
    if (upper && wanted != LetterCase::kUpper && wanted != LetterCase::kSwapped) {
      letter = icu::UnicodeString(u_totitle(c));
    } else {
      upper ? letter.toUpper(icu::Locale::getRoot()) : letter.toLower(icu::Locale::getRoot());
    }
    std::string written;
    letter.toUTF8String(written);
    made.append(written, text.origin(at));
  }
  return made;
}

Text indent(const Text& text, const Text& width, bool first, bool blank, Budget& budget) {
  const List lines = split_lines(text, false, budget);
  budget.spend(lines.size(), width.bytes.size());
  Text made;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) made.append("\n");
    if ((i > 0 || first) && (blank || !lines[i].text()->bytes.empty() || i == 0)) made.append(width);
    made.append(*lines[i].text());
  }
  if (text.bytes.ends_with('\n')) made.append("\n");
  return made;
}

Text join(const List& items, const Text& separator, Budget& budget) {
  if (!items.empty()) budget.spend(items.size() - 1, separator.bytes.size());
  Text made;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) made.append(separator);
    made.append(to_text(items[i], budget));
  }
  return made;
}

bool is_text_method(std::string_view name) { return find_signature(kMethods, name) != nullptr; }

std::optional<Value> text_method(const Text& text, std::string_view name, const Arguments& arguments, Budget& budget) {
  const Signature* signature = find_signature(kMethods, name);
  if (!signature) return std::nullopt;
  check_arguments("method", *signature, arguments);
  budget.spend(text.bytes.size(), 2);
  for (const Value& argument : arguments.positional) {
    if (argument.text()) budget.spend(argument.text()->bytes.size());
  }
  const std::string& bytes = text.bytes;
  std::int64_t before = 0;
  const auto first = [&]() -> std::string {
    auto given = text_argument(arguments, 0, "");
    if (!given) throw Error(ErrorKind::kInvalid, "{}() needs a text as argument", name);
    return std::move(*given);
  };
  if (name == "strip") return strip(text, text_argument(arguments, 0, "chars"), true, true);
  if (name == "lstrip") return strip(text, text_argument(arguments, 0, "chars"), true, false);
  if (name == "rstrip") return strip(text, text_argument(arguments, 0, "chars"), false, true);
  if (name == "split" || name == "rsplit") {
    return split(text, text_argument(arguments, 0, "sep"), integer_argument(arguments, 1, "maxsplit", -1),
                 name == "rsplit", budget);
  }
  if (name == "splitlines") return split_lines(text, truth(arguments.get(0, "keepends", false)), budget);
  if (name == "startswith" || name == "endswith") {
    const auto part = part_of(text, arguments, before);
    return any_of(arguments.get(0, signature->parameters[0]), budget, [&](std::string_view s) {
      return part && (name == "startswith" ? part->starts_with(s) : part->ends_with(s));
    });
  }
  if (name == "replace") {
    const Value to = arguments.get(1, "new");
    if (!to.text()) throw Error(ErrorKind::kInvalid, "replace() needs two texts as arguments");
    return replace(text, first(), *to.text(), integer_argument(arguments, 2, "count", -1), budget);
  }
  if (name == "upper") return in_case(text, LetterCase::kUpper);
  if (name == "lower") return in_case(text, LetterCase::kLower);
  if (name == "title") return in_case(text, LetterCase::kTitle);
  if (name == "capitalize") return in_case(text, LetterCase::kCapitalized);
  if (name == "swapcase") return in_case(text, LetterCase::kSwapped);
  if (name == "find" || name == "rfind" || name == "index") {
    const auto part = part_of(text, arguments, before);
    const std::int64_t at = part ? find_in(*part, first(), name == "rfind") : -1;
    if (name == "index" && at < 0) {
      throw Error(ErrorKind::kInvalid, "index() did not find its argument in the text");
    }
    return at < 0 ? at : before + at;
  }
  if (name == "count") {
    const std::string wanted = first();
    const auto part = part_of(text, arguments, before);
    if (!part) return std::int64_t{0};
    if (wanted.empty()) return static_cast<std::int64_t>(character_count(*part) + 1);
    std::int64_t count = 0;
    for (std::size_t at = 0; (at = find_text(*part, wanted, at)) != std::string_view::npos; at += wanted.size())
      ++count;
    return count;
  }
  if (name == "join") {
    const Value items = arguments.get(0, "iterable");
    if (!items.list()) {
      throw Error(ErrorKind::kInvalid, "join() needs a list as argument, not a value of the kind {}", kind_name(items));
    }
    for (const Value& item : *items.list()) {
      if (!item.text()) {
        throw Error(ErrorKind::kInvalid, "join() needs a list of texts; one item is of the kind {}", kind_name(item));
      }
    }
    return join(*items.list(), text, budget);
  }
  if (name == "isdigit" || name == "isdecimal") {
    return all_characters(bytes, [](UChar32 c) { return u_isdigit(c) != 0; });
  }
  if (name == "isnumeric") {
    return all_characters(bytes, [](UChar32 c) { return (U_GET_GC_MASK(c) & U_GC_N_MASK) != 0; });
  }
  if (name == "isalpha") return all_characters(bytes, [](UChar32 c) { return (U_GET_GC_MASK(c) & U_GC_L_MASK) != 0; });
  if (name == "isalnum") {
    return all_characters(bytes, [](UChar32 c) { return (U_GET_GC_MASK(c) & (U_GC_L_MASK | U_GC_N_MASK)) != 0; });
  }
  if (name == "isspace") return all_characters(bytes, white);
  if (name == "isupper") {
    return in_case(text, LetterCase::kUpper).bytes == bytes && in_case(text, LetterCase::kLower).bytes != bytes;
  }
  if (name == "islower") {
    return in_case(text, LetterCase::kLower).bytes == bytes && in_case(text, LetterCase::kUpper).bytes != bytes;
  }
  if (name == "removeprefix") {
    const std::string prefix = first();
    return bytes.starts_with(prefix) ? text.slice(prefix.size(), bytes.size()) : text;
  }
  if (name == "removesuffix") {
    const std::string suffix = first();
    return bytes.ends_with(suffix) ? text.slice(0, bytes.size() - suffix.size()) : text;
  }
  if (name == "ljust" || name == "rjust" || name == "center") {
    return padded(text, integer_argument(arguments, 0, "width", 0),
                  text_argument(arguments, 1, "fillchar").value_or(" "),
                  name == "rjust"   ? -1
                  : name == "ljust" ? 1
                                    : 0,
                  budget);
  }
  if (name == "zfill") {
    const bool sign = bytes.starts_with('-') || bytes.starts_with('+');
    const std::int64_t width = std::max<std::int64_t>(0, integer_argument(arguments, 0, "width", 0));
    const Text number = padded(text.slice(sign, bytes.size()), width - sign, "0", -1, budget);
    Text made = text.slice(0, sign);
    made.append(number);
    return made;
  }
  if (name == "partition" || name == "rpartition") {
    const std::string separator = first();
    const std::size_t at = name == "partition" ? find_text(bytes, separator) : find_last(bytes, separator);
    if (separator.empty()) throw Error(ErrorKind::kInvalid, "a text cannot be split at an empty separator");
    if (at == std::string::npos) return name == "partition" ? List{text, Text(), Text()} : List{Text(), Text(), text};
    return List{text.slice(0, at), text.slice(at, at + separator.size()),
                text.slice(at + separator.size(), bytes.size())};
  }
  return std::nullopt;
}

}  // namespace athanor::model::jinja
