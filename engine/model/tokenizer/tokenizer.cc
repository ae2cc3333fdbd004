#include "engine/model/tokenizer/tokenizer.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "common/error.h"

namespace athanor::model {

namespace {

constexpr std::size_t kCacheEntries = 1 << 15;
constexpr std::size_t kCachedBytesMax = 32;
constexpr std::size_t kCachedTokensMax = 12;

bool ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

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
  // Before a space that follows a letter: every pre-tokenizer in use ends a piece there.
  for (std::size_t at = limit; at > 1; --at) {
    if (text[at] == ' ' && ascii_letter(text[at - 1])) return at;
  }
  std::size_t at = limit;
  for (int back = 0; back < 3 && at > 1 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80; ++back) --at;
  return at;
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
