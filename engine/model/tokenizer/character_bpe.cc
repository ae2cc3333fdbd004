#include "engine/model/tokenizer/character_bpe.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_set>

#include "common/error.h"
#include "engine/model/tokenizer/utf8.h"

namespace athanor::model {

namespace {

// Bytes of the character at the start of `text`; a broken byte is one of its own.
std::size_t character_bytes(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  if (first < 0x80) return 1;
  const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  return size <= text.size() && utf8_valid_prefix(text.substr(0, size)) == size ? size : 1;
}

std::string_view first_character(std::string_view text) { return text.substr(0, character_bytes(text)); }

int hex_digit(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                : -1;
}

// "<0xE2>" is 0xE2; -1 for anything else.
int byte_of(std::string_view piece) {
  if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece.back() != '>') return -1;
  const int high = hex_digit(piece[3]), low = hex_digit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::string spaces_for(std::string_view piece, std::string_view space) {
  std::string text;
  for (std::size_t at = 0; at < piece.size();) {
    if (piece.substr(at, space.size()) == space) {
      text += ' ';
      at += space.size();
    } else {
      text += piece[at++];
    }
  }
  return text;
}

}  // namespace

CharacterBpe::CharacterBpe(std::vector<Token> tokens, std::vector<std::pair<TokenId, TokenId>> merges,
                           const std::vector<std::int32_t>& ranks, Options options)
    : merges_(std::move(merges)), options_(std::move(options)) {
  if (options_.space.empty()) throw Error(ErrorKind::kInvalid, "the tokenizer writes a space as nothing");
  TokenId end = 0;
  for (const Token& token : tokens) {
    if (token.id < 0 || token.id >= kTokenIdMax) {
      throw Error(ErrorKind::kInvalid, "the tokenizer has a token with id {}; ids must be 0 to {}", token.id,
                  kTokenIdMax - 1);
    }
    if (token.piece.empty()) throw Error(ErrorKind::kInvalid, "the tokenizer's token {} is empty", token.id);
    end = std::max(end, token.id + 1);
  }
  tokens_.resize(static_cast<std::size_t>(end), Token{"", 0, Kind::kUnused, 0});
  for (Token& token : tokens) {
    Token& slot = tokens_[static_cast<std::size_t>(token.id)];
    if (!slot.piece.empty()) throw Error(ErrorKind::kInvalid, "the tokenizer gives id {} to two tokens", token.id);
    slot = std::move(token);
  }

  std::vector<AddedTokenMatcher::Entry> whole;
  of_byte_.fill(-1);
  bytes_.resize(tokens_.size());
  ids_.reserve(tokens_.size());
  for (TokenId id = 0; id < end; ++id) {
    const Token& token = tokens_[static_cast<std::size_t>(id)];
    std::string& bytes = bytes_[static_cast<std::size_t>(id)];
    if (token.kind == Kind::kByte) {
      const int byte = byte_of(token.piece);
      if (byte < 0) {
        throw Error(ErrorKind::kInvalid, "the tokenizer's token {} (\"{}\") names no byte", id, token.piece);
      }
      of_byte_[static_cast<std::size_t>(byte)] = id;
      bytes.assign(1, static_cast<char>(byte));
    } else if (token.kind == Kind::kText) {
      if (!ids_.emplace(token.piece, id).second) {
        throw Error(ErrorKind::kInvalid, "the tokenizer's tokens {} and {} are the same", ids_.at(token.piece), id);
      }
      bytes = spaces_for(token.piece, options_.space);
    } else if (token.kind == Kind::kWhole) {
      whole.push_back({.content = token.piece});
      whole_ids_.push_back(id);
      bytes = spaces_for(token.piece, options_.space);
      words_ = words_ && keeps_words(token.piece);
    }
  }
  whole_ = AddedTokenMatcher(std::move(whole));
  has_bytes_ = std::find(of_byte_.begin(), of_byte_.end(), -1) == of_byte_.end();
  if (options_.unknown && (*options_.unknown < 0 || *options_.unknown >= end)) {
    throw Error(ErrorKind::kInvalid, "the tokenizer's unknown token has the id {}, which no token has",
                *options_.unknown);
  }
  if (!has_bytes_ && !options_.unknown) {
    throw Error(ErrorKind::kInvalid,
                "the tokenizer has neither a token for each byte (\"<0x00>\" to \"<0xFF>\") nor one for "
                "what it does not know");
  }

  std::vector<Merge> joined;
  joined.reserve(merges_.size());
  std::string merged;
  for (std::size_t rank = 0; rank < merges_.size(); ++rank) {
    const auto [left, right] = merges_[rank];
    if (!has(left) || !has(right)) {
      throw Error(ErrorKind::kInvalid, "the tokenizer's merge number {} joins tokens that it does not have", rank);
    }
    merged = tokens_[static_cast<std::size_t>(left)].piece + tokens_[static_cast<std::size_t>(right)].piece;
    const auto result = ids_.find(merged);
    if (result == ids_.end()) {
      throw Error(ErrorKind::kInvalid, "the tokenizer's merge number {} makes a token that it does not have", rank);
    }
    joined.push_back({left, right, result->second, ranks.empty() ? static_cast<std::int32_t>(rank) : ranks[rank]});
    words_ = words_ && keeps_words(merged);
  }
  table_ = MergeTable(joined);
  // Without a token for a space, what is unknown before it may join what is unknown after it, or come after its bytes.
  words_ = words_ && (has_bytes_ || ids_.count(first_character(options_.space)) != 0);
}

CharacterBpe CharacterBpe::from_scores(std::vector<Token> tokens, Options options) {
  std::unordered_map<std::string_view, const Token*> known;
  std::vector<const Token*> by_score;
  for (const Token& token : tokens) {
    if (token.kind != Kind::kText) continue;
    if (token.piece.size() > kScoredBytesMax) {
      throw Error(ErrorKind::kInvalid, "the tokenizer's token {} has {} bytes; at most {} are possible", token.id,
                  token.piece.size(), kScoredBytesMax);
    }
    if (std::isnan(token.score)) {
      throw Error(ErrorKind::kInvalid, "the tokenizer's token {} has no number as score", token.id);
    }
    known.emplace(token.piece, &token);
    by_score.push_back(&token);
  }
  std::stable_sort(by_score.begin(), by_score.end(),
                   [](const Token* a, const Token* b) { return a->score > b->score; });
  std::vector<std::pair<TokenId, TokenId>> merges;
  std::vector<std::int32_t> ranks;
  std::int32_t rank = 0;
  for (std::size_t i = 0; i < by_score.size(); ++i) {
    if (i > 0 && by_score[i]->score < by_score[i - 1]->score) ++rank;
    const std::string_view piece = by_score[i]->piece;
    for (std::size_t at = 1; at < piece.size(); ++at) {
      if ((static_cast<unsigned char>(piece[at]) & 0xc0) == 0x80) continue;
      const auto left = known.find(piece.substr(0, at));
      const auto right = known.find(piece.substr(at));
      if (left == known.end() || right == known.end()) continue;
      merges.emplace_back(left->second->id, right->second->id);
      ranks.push_back(rank);
    }
  }
  return CharacterBpe(std::move(tokens), std::move(merges), ranks, std::move(options));
}

const CharacterBpe::Token* CharacterBpe::out_of_reach(std::span<const Token> tokens) {
  std::unordered_set<std::string_view> characters;
  for (const Token& token : tokens) {
    if (!token.piece.empty() && first_character(token.piece).size() == token.piece.size()) {
      characters.insert(token.piece);
    }
  }
  for (const Token& token : tokens) {
    if (token.kind != Kind::kText) continue;
    for (std::string_view rest = token.piece; !rest.empty();) {
      const std::string_view character = first_character(rest);
      if (characters.count(character) == 0) return &token;
      rest.remove_prefix(character.size());
    }
  }
  return nullptr;
}

bool CharacterBpe::has(TokenId id) const {
  return id >= 0 && id < id_end() && !tokens_[static_cast<std::size_t>(id)].piece.empty();
}

// No space follows something else in it: else a token may go from one word to the next.
bool CharacterBpe::keeps_words(std::string_view piece) const {
  const std::string_view space = options_.space;
  for (std::size_t at = piece.find(space); at != std::string_view::npos; at = piece.find(space, at + 1)) {
    if (at > 0 && !piece.substr(0, at).ends_with(space)) return false;
  }
  return true;
}

void CharacterBpe::encode(std::string_view piece, std::vector<TokenId>& into) const {
  if (whole_.empty()) return encode_between(piece, into);
  whole_.for_each_part(piece, [&](std::string_view part, int entry) {
    entry < 0 ? encode_between(part, into) : into.push_back(whole_ids_[static_cast<std::size_t>(entry)]);
  });
}

void CharacterBpe::encode_between(std::string_view piece, std::vector<TokenId>& into) const {
  const std::size_t from = into.size();
  // As `tokenizers` has it: what is unknown is written when a token of text follows or another that does not join it, so
  // bytes in between come first.
  bool unknown = false;
  const auto write_unknown = [&] {
    if (unknown) into.push_back(*options_.unknown);
    unknown = false;
  };
  while (!piece.empty()) {
    const std::string_view character = first_character(piece);
    piece.remove_prefix(character.size());
    if (const auto found = ids_.find(character); found != ids_.end()) {
      write_unknown();
      into.push_back(found->second);
    } else if (has_bytes(character)) {
      for (const char byte : character) into.push_back(of_byte_[static_cast<unsigned char>(byte)]);
    } else {
      if (!options_.fuse_unknown) write_unknown();
      unknown = true;
    }
  }
  write_unknown();
  table_.apply(into, from);
}

bool CharacterBpe::has_bytes(std::string_view character) const {
  return has_bytes_ || std::all_of(character.begin(), character.end(),
                                   [&](char byte) { return of_byte_[static_cast<unsigned char>(byte)] >= 0; });
}

std::size_t CharacterBpe::first_part(std::string_view piece) const {
  if (!words_) return piece.size();
  const std::string& space = options_.space;
  std::size_t at = 0;
  while (piece.compare(at, space.size(), space) == 0) at += space.size();
  at = piece.find(space, at);
  return at == std::string_view::npos ? piece.size() : at;
}

}  // namespace athanor::model
