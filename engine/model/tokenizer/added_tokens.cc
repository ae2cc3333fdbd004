#include "engine/model/tokenizer/added_tokens.h"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <algorithm>

namespace athanor::model {

namespace {

// Unicode's \w: letters, marks, digits, connectors, joiners.
bool is_word(UChar32 c) {
  return c >= 0 && (u_hasBinaryProperty(c, UCHAR_ALPHABETIC) ||
                    (U_GET_GC_MASK(c) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
                    u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL));
}

// The character that ends before `at`, and where it starts; negative for a broken one.
UChar32 before(std::string_view text, std::size_t at, std::size_t& start) {
  auto i = static_cast<std::int32_t>(std::min<std::size_t>(at, 8));  // a character is at most 4 bytes
  const char* base = text.data() + at - i;
  const std::int32_t window = i;
  UChar32 c;
  U8_PREV(reinterpret_cast<const std::uint8_t*>(base), 0, i, c);
  start = at - static_cast<std::size_t>(window - i);
  return c;
}

UChar32 after(std::string_view text, std::size_t at, std::size_t& end) {
  const auto window = static_cast<std::int32_t>(std::min<std::size_t>(text.size() - at, 8));
  std::int32_t i = 0;
  UChar32 c;
  U8_NEXT(reinterpret_cast<const std::uint8_t*>(text.data() + at), i, window, c);
  end = at + static_cast<std::size_t>(i);
  return c;
}

bool inside_a_word(std::string_view text, std::size_t begin, std::size_t end) {
  std::size_t other;
  return (begin > 0 && is_word(before(text, begin, other))) || (end < text.size() && is_word(after(text, end, other)));
}

std::size_t spaces_before(std::string_view text, std::size_t at, std::size_t least) {
  for (std::size_t start; at > least; at = start) {
    const UChar32 c = before(text, at, start);
    if (c < 0 || !u_isUWhiteSpace(c) || start < least) break;
  }
  return at;
}

std::size_t spaces_after(std::string_view text, std::size_t at) {
  for (std::size_t end; at < text.size(); at = end) {
    const UChar32 c = after(text, at, end);
    if (c < 0 || !u_isUWhiteSpace(c)) break;
  }
  return at;
}

std::size_t two_bytes(char first, char second) {
  return static_cast<std::size_t>(static_cast<unsigned char>(first)) << 8 | static_cast<unsigned char>(second);
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<Entry> entries) : entries_(std::move(entries)) {
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (!entries_[i].content.empty()) order_.push_back(static_cast<int>(i));
  }
  const auto content = [&](int i) -> const std::string& { return entries_[static_cast<std::size_t>(i)].content; };
  std::stable_sort(order_.begin(), order_.end(), [&](int a, int b) {
    const auto first_a = static_cast<unsigned char>(content(a)[0]), first_b = static_cast<unsigned char>(content(b)[0]);
    return first_a != first_b ? first_a < first_b : content(a).size() > content(b).size();
  });
  if (!order_.empty()) seconds_.assign(1 << 16, false);
  for (const int i : order_) {
    const std::string& text = content(i);
    ++first_[static_cast<std::size_t>(static_cast<unsigned char>(text[0])) + 1];
    if (text.size() > 1) {
      seconds_[two_bytes(text[0], text[1])] = true;
    } else {
      for (int second = 0; second < 256; ++second) seconds_[two_bytes(text[0], static_cast<char>(second))] = true;
    }
  }
  for (std::size_t byte = 0; byte < 256; ++byte) first_[byte + 1] += first_[byte];
}

int AddedTokenMatcher::longest_at(std::string_view text) const {
  const auto first = static_cast<std::size_t>(static_cast<unsigned char>(text[0]));
  if (first_[first] == first_[first + 1] || (text.size() > 1 && !seconds_[two_bytes(text[0], text[1])])) return -1;
  for (std::int32_t i = first_[first]; i < first_[first + 1]; ++i) {
    const int entry = order_[static_cast<std::size_t>(i)];
    if (text.starts_with(entries_[static_cast<std::size_t>(entry)].content)) return entry;
  }
  return -1;
}

void AddedTokenMatcher::for_each_part(std::string_view text, const std::function<void(std::string_view, int)>& part,
                                      bool specials) const {
  std::size_t done = 0;
  for (std::size_t at = 0; !order_.empty() && at < text.size();) {
    const int found = longest_at(text.substr(at));
    if (found < 0) {
      ++at;
      continue;
    }
    const Entry& entry = entries_[static_cast<std::size_t>(found)];
    std::size_t begin = at, end = at + entry.content.size();
    at = end;
    if ((entry.special && !specials) || (entry.single_word && inside_a_word(text, begin, end))) continue;
    if (entry.lstrip) begin = spaces_before(text, begin, done);
    if (entry.rstrip) end = spaces_after(text, end);
    if (begin > done) part(text.substr(done, begin - done), -1);
    part(text.substr(begin, end - begin), found);
    done = end;
    at = std::max(at, end);
  }
  if (done < text.size()) part(text.substr(done), -1);
}

}  // namespace athanor::model
