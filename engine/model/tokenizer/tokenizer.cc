#include "engine/model/tokenizer/tokenizer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <initializer_list>

#include "common/error.h"

namespace athanor::model {

namespace {

constexpr std::size_t kCacheEntries = 1 << 15;
constexpr std::size_t kCachedBytesMax = 32;
constexpr std::size_t kCachedTokensMax = 12;

constexpr std::size_t kAddedBytesMax = 64;  // of an added token with spaces in it

bool ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }
bool ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// The character that ends before `at`; empty at the beginning.
std::string_view character_before(std::string_view text, std::size_t at) {
  std::size_t begin = at > 0 ? at - 1 : 0;
  while (begin > 0 && at - begin < 4 && (static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) --begin;
  return text.substr(begin, at - begin);
}

bool one_of(std::string_view character, std::initializer_list<std::string_view> all) {
  return std::find(all.begin(), all.end(), character) != all.end();
}

// White space that is not ASCII. All of U+2000 to U+207F counts as such: it costs a place, never a token.
bool wide_space(std::string_view c) {
  return c.starts_with("\xe2\x80") || c.starts_with("\xe2\x81") ||
         one_of(c, {"\xc2\x85", "\xc2\xa0", "\xe1\x9a\x80", "\xe1\xa0\x8e", "\xe3\x80\x80"});
}

bool word(std::string_view c) {
  if (c.empty()) return false;
  return ascii(c[0]) ? ascii_letter(c[0]) : !wide_space(c);
}

// Han, kana or Hangul: letters in every version of Unicode.
bool cjk_letter(std::string_view c) {
  return (c >= "\xe3\x81\x81" && c <= "\xe3\x82\x96") || (c >= "\xe3\x82\xa1" && c <= "\xe3\x83\xba") ||
         (c >= "\xe4\xb8\x80" && c <= "\xe9\xbe\xa5") || (c >= "\xea\xb0\x80" && c <= "\xed\x9e\xa3");
}

// Whether a token such as <like this> may have begun and not ended.
bool inside_brackets(std::string_view text, std::size_t at) {
  const std::size_t begin = at - std::min(at, kAddedBytesMax);
  const std::size_t bracket = text.substr(begin, at - begin).find_last_of("<>");
  return bracket != std::string_view::npos && text[begin + bracket] == '<';
}

// Before a space that follows a word: every pre-tokenizer in use ends a piece there.
bool before_space(std::string_view text, std::size_t at) {
  return text[at] == ' ' && word(character_before(text, at)) && !inside_brackets(text, at);
}

// After a line's only end, unless white space or a slash goes on with it.
bool after_line(std::string_view text, std::size_t at) {
  if (text[at - 1] != '\n' || at + 3 > text.size()) return false;
  if (ascii(text[at]) ? text[at] <= ' ' || text[at] == '/' || text[at] == 0x7f : wide_space(text.substr(at, 3)) || wide_space(text.substr(at, 2))) return false;
  const std::string_view c = character_before(text, at - 1);
  return !c.empty() && (ascii(c[0]) ? c[0] > ' ' && c[0] != 0x7f : !wide_space(c)) && !inside_brackets(text, at);
}

// In a script without spaces: before the sign that ends a part of a sentence.
bool before_sign(std::string_view text, std::size_t at) {
  return one_of(text.substr(at, 3), {"、", "。", "！", "，", "：", "；", "？"}) && cjk_letter(character_before(text, at));
}

}  // namespace

void for_each_part(std::string_view text, const std::vector<std::string>& contents,
                   const std::function<void(std::string_view, int)>& part) {
  std::array<bool, 256> starts{};
  for (const std::string& content : contents) {
    if (!content.empty()) starts[static_cast<unsigned char>(content.front())] = true;
  }
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    int longest = -1;
    if (starts[static_cast<unsigned char>(text[at])]) {
      for (std::size_t i = 0; i < contents.size(); ++i) {
        const bool longer = longest < 0 || contents[i].size() > contents[static_cast<std::size_t>(longest)].size();
        if (!contents[i].empty() && longer && text.substr(at, contents[i].size()) == contents[i]) {
          longest = static_cast<int>(i);
        }
      }
    }
    if (longest < 0) {
      ++at;
      continue;
    }
    const std::size_t size = contents[static_cast<std::size_t>(longest)].size();
    if (at > begin) part(text.substr(begin, at - begin), -1);
    part(text.substr(at, size), longest);
    at += size;
    begin = at;
  }
  if (begin < text.size()) part(text.substr(begin), -1);
}

std::size_t safe_cut(std::string_view text, std::size_t limit) {
  if (limit >= text.size()) return text.size();
  // In this order: a tokenizer that puts a space before every text that has none agrees with the first only.
  for (const auto is_place : {before_space, after_line, before_sign}) {
    for (std::size_t at = limit; at > 0; --at) {
      if (is_place(text, at)) return at;
    }
  }
  return 0;
}

Tokenizer::Tokenizer(Bpe bpe, PreTokenizer pretokenizer, std::vector<AddedToken> added)
    : bpe_(std::move(bpe)), pretokenizer_(std::move(pretokenizer)), added_(std::move(added)) {
  vocabulary_ = bpe_.id_end();
  for (const AddedToken& token : added_) {
    if (token.id < 0 || token.id >= Bpe::kIdMax || token.content.empty()) {
      throw Error(ErrorKind::kInvalid, "the tokenizer's added token '{}' with id {} is not possible", token.content,
                  token.id);
    }
    added_contents_.push_back(token.content);
    vocabulary_ = std::max<std::int64_t>(vocabulary_, token.id + 1);
  }
}

const AddedToken* Tokenizer::added_by_id(TokenId id) const {
  for (const AddedToken& token : added_) {
    if (token.id == id) return &token;
  }
  return nullptr;
}

std::optional<TokenId> Tokenizer::find_added(std::string_view content) const {
  for (const AddedToken& token : added_) {
    if (token.content == content) return token.id;
  }
  return std::nullopt;
}

std::optional<TokenId> Tokenizer::end_of_text() const {
  for (const std::string_view name : {kEndOfText, std::string_view("<|end_of_text|>"), std::string_view("</s>"),
                                      std::string_view("<|im_end|>")}) {
    if (const auto id = find_added(name)) return id;
  }
  return std::nullopt;
}

std::vector<TokenId> Tokenizer::encode(std::string_view text) const {
  std::vector<TokenId> tokens;
  Encoder(*this).encode(text, tokens);
  return tokens;
}

std::string_view Tokenizer::bytes(TokenId token) const {
  if (const AddedToken* added = added_by_id(token)) return added->special ? std::string_view() : added->content;
  return token < 0 || token >= bpe_.id_end() ? std::string_view() : bpe_.bytes(token);
}

std::string Tokenizer::decode(std::span<const TokenId> tokens, bool with_specials) const {
  std::string text;
  for (const TokenId token : tokens) {
    if (const AddedToken* added = added_by_id(token)) {
      if (with_specials || !added->special) text += added->content;
    } else if (bpe_.has(token)) {
      text += bpe_.bytes(token);
    } else {
      throw Error(ErrorKind::kInvalid, "decoding: there is no token {}; the vocabulary ends at {}", token, vocabulary_);
    }
  }
  return text;
}

struct Encoder::Entry {
  std::uint8_t bytes = 0;  // 0 in an empty slot
  std::uint8_t tokens = 0;
  char piece[kCachedBytesMax];
  TokenId ids[kCachedTokensMax];
};

Encoder::Encoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
Encoder::~Encoder() = default;

void Encoder::encode(std::string_view text, std::vector<TokenId>& into) {
  // The cache pays for itself from a few kilobytes on; a prompt needs none.
  if (cache_.empty() && text.size() > 4096) cache_.resize(kCacheEntries);
  for_each_part(text, tokenizer_.added_contents_, [&](std::string_view part, int added) {
    if (added >= 0) {
      into.push_back(tokenizer_.added_[static_cast<std::size_t>(added)].id);
    } else {
      tokenizer_.pretokenizer_.split(part, [&](std::string_view piece) { encode_piece(piece, into); });
    }
  });
}

void Encoder::encode_piece(std::string_view piece, std::vector<TokenId>& into) {
  if (cache_.empty() || piece.size() > kCachedBytesMax) {
    tokenizer_.bpe_.encode(piece, into);
    return;
  }
  Entry& entry = cache_[std::hash<std::string_view>()(piece) % kCacheEntries];
  if (entry.bytes == piece.size() && std::memcmp(entry.piece, piece.data(), piece.size()) == 0) {
    into.insert(into.end(), entry.ids, entry.ids + entry.tokens);
    return;
  }
  const std::size_t before = into.size();
  tokenizer_.bpe_.encode(piece, into);
  const std::size_t count = into.size() - before;
  if (count > kCachedTokensMax) return;
  entry.bytes = static_cast<std::uint8_t>(piece.size());
  entry.tokens = static_cast<std::uint8_t>(count);
  std::memcpy(entry.piece, piece.data(), piece.size());
  std::copy(into.begin() + static_cast<std::ptrdiff_t>(before), into.end(), entry.ids);
}

}  // namespace athanor::model
