#include "engine/model/tokenizer/tokenizer.h"

#include <algorithm>
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
  if (ascii(text[at]) ? text[at] <= ' ' || text[at] == '/' || text[at] == 0x7f
                      : wide_space(text.substr(at, 3)) || wide_space(text.substr(at, 2))) {
    return false;
  }
  const std::string_view c = character_before(text, at - 1);
  return !c.empty() && (ascii(c[0]) ? c[0] > ' ' && c[0] != 0x7f : !wide_space(c)) && !inside_brackets(text, at);
}

// In a script without spaces: before the sign that ends a part of a sentence.
bool before_sign(std::string_view text, std::size_t at) {
  return one_of(text.substr(at, 3), {"、", "。", "！", "，", "：", "；", "？"}) &&
         cjk_letter(character_before(text, at));
}

// Hashes of pieces, eight bytes at a time.
std::size_t hash_of(std::string_view piece) {
  std::uint64_t hash = piece.size() * 0x9e3779b97f4a7c15u;
  const char* at = piece.data();
  std::size_t left = piece.size();
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t eight;
    std::memcpy(&eight, at, 8);
    hash = (hash ^ eight) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  }
  std::uint64_t rest = 0;
  std::memcpy(&rest, at, left);
  hash = (hash ^ rest) * 0xff51afd7ed558ccdu;
  return static_cast<std::size_t>(hash ^ hash >> 32);
}

}  // namespace

struct Tokenizer::Compiled {
  TokenizerParts parts;
  std::int64_t vocabulary = 0;
  AddedTokenMatcher in_text, in_normalized;
  std::vector<TokenId> in_text_ids, in_normalized_ids;  // of each matcher's entries
  std::unordered_map<TokenId, std::size_t> added_of_id;
  std::unordered_map<std::string_view, TokenId> added_of_content;
};

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
    : Tokenizer(TokenizerParts{.subwords = std::make_shared<const Bpe>(std::move(bpe)),
                               .pretokenizer = std::move(pretokenizer),
                               .added = std::move(added)}) {}

Tokenizer::Tokenizer(TokenizerParts parts) {
  ATHANOR_ASSERT(parts.subwords != nullptr);
  auto compiled = std::make_shared<Compiled>();
  compiled->parts = std::move(parts);
  const TokenizerParts& own = compiled->parts;
  compiled->vocabulary = own.subwords->id_end();
  std::vector<AddedTokenMatcher::Entry> in_text, in_normalized;
  for (std::size_t i = 0; i < own.added.size(); ++i) {
    const AddedToken& token = own.added[i];
    if (token.id < 0 || token.id >= kTokenIdMax || token.content.empty()) {
      throw Error(ErrorKind::kInvalid, "the tokenizer's added token '{}' with id {} is not possible", token.content,
                  token.id);
    }
    AddedTokenMatcher::Entry entry{token.content, token.lstrip, token.rstrip, token.single_word, token.special};
    if (token.normalized && !own.normalizer.steps().empty()) {
      std::string scratch;
      entry.content = std::string(own.normalizer.apply(token.content, scratch));
      in_normalized.push_back(std::move(entry));
      compiled->in_normalized_ids.push_back(token.id);
    } else {
      in_text.push_back(std::move(entry));
      compiled->in_text_ids.push_back(token.id);
    }
    compiled->added_of_id.emplace(token.id, i);
    compiled->added_of_content.emplace(token.content, token.id);
    compiled->vocabulary = std::max<std::int64_t>(compiled->vocabulary, token.id + 1);
  }
  for (const TokenId id : own.before) {
    if (id < 0 || id >= compiled->vocabulary) {
      throw Error(ErrorKind::kInvalid, "the tokenizer puts a token {} before a text, which it does not have", id);
    }
  }
  for (const TokenId id : own.after) {
    if (id < 0 || id >= compiled->vocabulary) {
      throw Error(ErrorKind::kInvalid, "the tokenizer puts a token {} after a text, which it does not have", id);
    }
  }
  compiled->in_text = AddedTokenMatcher(std::move(in_text));
  compiled->in_normalized = AddedTokenMatcher(std::move(in_normalized));
  compiled_ = std::move(compiled);
}

std::int64_t Tokenizer::vocabulary() const { return compiled_->vocabulary; }

const TokenizerParts& Tokenizer::parts() const { return compiled_->parts; }

const Bpe& Tokenizer::bpe() const {
  const auto* bpe = dynamic_cast<const Bpe*>(parts().subwords.get());
  ATHANOR_ASSERT(bpe != nullptr);
  return *bpe;
}

bool Tokenizer::lossless() const {
  const bool strips = std::any_of(added().begin(), added().end(),
                                  [](const AddedToken& t) { return t.lstrip || t.rstrip || t.normalized; });
  const auto* bpe = dynamic_cast<const Bpe*>(parts().subwords.get());
  return bpe != nullptr && bpe->complete() && pretokenizer().changes_nothing() && parts().normalizer.steps().empty() &&
         !strips;
}

const AddedToken* Tokenizer::added_by_id(TokenId id) const {
  const auto found = compiled_->added_of_id.find(id);
  return found == compiled_->added_of_id.end() ? nullptr : &added()[found->second];
}

std::optional<TokenId> Tokenizer::find_added(std::string_view content) const {
  const auto found = compiled_->added_of_content.find(content);
  return found == compiled_->added_of_content.end() ? std::nullopt : std::optional(found->second);
}

std::optional<TokenId> Tokenizer::end_of_text() const {
  for (const std::string_view name :
       {kEndOfText, std::string_view("<|end_of_text|>"), std::string_view("</s>"), std::string_view("<|im_end|>")}) {
    if (const auto id = find_added(name)) return id;
  }
  return eos();
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<TokenId> tokens;
  Encoder(*this).encode(text, tokens, options);
  return tokens;
}

std::string_view Tokenizer::bytes(TokenId token) const {
  const AddedToken* added = added_by_id(token);
  if (added != nullptr) return added->special ? std::string_view() : std::string_view(added->content);
  return subwords().has(token) ? subwords().bytes(token) : std::string_view();
}

std::string Tokenizer::decode(std::span<const TokenId> tokens, bool with_specials) const {
  std::string text;
  for (const TokenId token : tokens) {
    if (const AddedToken* added = added_by_id(token)) {
      if (with_specials || !added->special) text += added->content;
    } else if (subwords().has(token)) {
      text += subwords().bytes(token);
    } else {
      throw Error(ErrorKind::kInvalid, "decoding: there is no token {}; the vocabulary ends at {}", token,
                  vocabulary());
    }
  }
  if (parts().strip_first_space && text.starts_with(' ')) text.erase(0, 1);
  return text;
}

struct Encoder::Entry {
  std::uint8_t bytes = 0;  // 0 in an empty slot
  std::uint8_t tokens = 0;
  char piece[kCachedBytesMax];
  TokenId ids[kCachedTokensMax];
};

Encoder::Encoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer.compiled_) {}
Encoder::~Encoder() = default;

void Encoder::encode(std::string_view text, std::vector<TokenId>& into, const EncodeOptions& options) {
  // The cache pays for itself from a few kilobytes on; a prompt needs none.
  if (cache_.empty() && text.size() > 4096) cache_.resize(kCacheEntries);
  const TokenizerParts& parts = tokenizer_->parts;
  if (options.with_specials) into.insert(into.end(), parts.before.begin(), parts.before.end());
  PreTokenizer::Place place = options.continues ? PreTokenizer::Place::kContinues : PreTokenizer::Place::kFirst;
  const auto part = [&](std::string_view found, int added) {
    if (added >= 0) {
      into.push_back(tokenizer_->in_text_ids[static_cast<std::size_t>(added)]);
    } else {
      encode_part(found, place, options.specials_in_text, into);
    }
    place = PreTokenizer::Place::kLater;
  };
  tokenizer_->in_text.for_each_part(text, part, options.specials_in_text);
  if (options.with_specials) into.insert(into.end(), parts.after.begin(), parts.after.end());
}

void Encoder::encode_part(std::string_view text, PreTokenizer::Place place, bool specials_in_text,
                          std::vector<TokenId>& into) {
  const TokenizerParts& parts = tokenizer_->parts;
  // The space that the model puts in front is the one that the text has there.
  if (place == PreTokenizer::Place::kContinues && parts.subwords->prefixes() && text.starts_with(' ')) {
    text.remove_prefix(1);
  }
  std::string scratch;
  const std::string_view normalized = parts.normalizer.apply(text, scratch, place == PreTokenizer::Place::kContinues);
  const auto piece = [&](std::string_view found) { encode_piece(found, into); };
  if (tokenizer_->in_normalized.empty()) return parts.pretokenizer.split(normalized, place, scratch_, piece);
  const auto normalized_part = [&](std::string_view part, int added) {
    if (added >= 0) {
      into.push_back(tokenizer_->in_normalized_ids[static_cast<std::size_t>(added)]);
    } else {
      parts.pretokenizer.split(part, place, scratch_, piece);
    }
    place = PreTokenizer::Place::kLater;
  };
  tokenizer_->in_normalized.for_each_part(normalized, normalized_part, specials_in_text);
}

void Encoder::encode_piece(std::string_view piece, std::vector<TokenId>& into) {
  const Subwords& subwords = *tokenizer_->parts.subwords;
  while (!piece.empty()) {
    const std::string_view part = piece.substr(0, subwords.first_part(piece));
    piece.remove_prefix(part.size());
    if (cache_.empty() || part.size() > kCachedBytesMax) {
      subwords.encode(part, into);
      continue;
    }
    Entry& entry = cache_[hash_of(part) % kCacheEntries];
    if (entry.bytes == part.size() && std::memcmp(entry.piece, part.data(), part.size()) == 0) {
      into.insert(into.end(), entry.ids, entry.ids + entry.tokens);
      continue;
    }
    const std::size_t before = into.size();
    subwords.encode(part, into);
    const std::size_t count = into.size() - before;
    if (count > kCachedTokensMax) continue;
    entry.bytes = static_cast<std::uint8_t>(part.size());
    entry.tokens = static_cast<std::uint8_t>(count);
    std::memcpy(entry.piece, part.data(), part.size());
    std::copy(into.begin() + static_cast<std::ptrdiff_t>(before), into.end(), entry.ids);
  }
}

}  // namespace athanor::model
