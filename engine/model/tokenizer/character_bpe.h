// Byte-pair encoding on characters, as sentencepiece made it and Llama-2 and Mistral use it: a space is a character of
// its own ("▁"), and a character that the vocabulary lacks falls back to a token for each of its bytes ("<0xE2>"), where
// it has all of these, and else to the unknown token.
// Merges are given by their order (Hugging Face) or by the score of what they make (sentencepiece, GGUF, llama2.c).
// Immutable and shared by threads.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/model/tokenizer/added_tokens.h"
#include "engine/model/tokenizer/merge_table.h"
#include "engine/model/tokenizer/subwords.h"

namespace athanor::model {

// U+2581, sentencepiece's space.
inline constexpr std::string_view kMetaspace = "\xe2\x96\x81";

class CharacterBpe : public Subwords {
 public:
  enum class Kind : std::uint8_t {
    kText,     // a piece of text
    kByte,     // "<0xE2>": the byte; no text is matched with its name
    kControl,  // "<s>": no text is matched with it, and it stands for none
    kWhole,    // text that is found before anything merges, the longest of a place, and merges with nothing
    kUnused,   // an id without a use
  };
  struct Token {
    std::string piece;  // "▁the"
    TokenId id = 0;
    Kind kind = Kind::kText;
    float score = 0;  // for from_scores(): the higher, the earlier
  };
  struct Options {
    std::string space{kMetaspace};   // how pieces write a space; text comes with it already
    std::optional<TokenId> unknown;  // for a character that has neither token nor bytes
    bool fuse_unknown = true;        // neighbours of that kind are one token
  };

  // `merges`: pairs of ids in order of their rank. Throws kInvalid: an id twice, a merge of tokens or to a token that
  // is not there, neither all 256 bytes nor an unknown token.
  CharacterBpe(std::vector<Token> tokens, std::vector<std::pair<TokenId, TokenId>> merges, Options options)
      : CharacterBpe(std::move(tokens), std::move(merges), {}, std::move(options)) {}
  // Every two tokens of text that together are a token may merge, the one of the highest score first, among equals the
  // leftmost. Throws kInvalid, also for a score that is no number and for a piece above kScoredBytesMax: its every split is
  // looked up.
  static constexpr std::size_t kScoredBytesMax = 1024;
  static CharacterBpe from_scores(std::vector<Token> tokens, Options options);
  // A piece of text with a character that is no token; null when there is none. sentencepiece, which joins texts, makes
  // such a piece all the same; from_scores(), which joins tokens, does not.
  static const Token* out_of_reach(std::span<const Token> tokens);

  TokenId id_end() const override { return static_cast<TokenId>(tokens_.size()); }
  bool has(TokenId id) const override;
  std::string_view bytes(TokenId id) const override { return bytes_[static_cast<std::size_t>(id)]; }
  void encode(std::string_view piece, std::vector<TokenId>& into) const override;
  // Words, where no token has a space after something else, which is so in all vocabularies in use.
  std::size_t first_part(std::string_view piece) const override;

  // Every byte has a token.
  bool complete() const { return has_bytes_; }
  // By id; holes are kUnused with an empty piece.
  std::span<const Token> tokens() const { return tokens_; }
  std::span<const std::pair<TokenId, TokenId>> merges() const { return merges_; }
  const Options& options() const { return options_; }

 private:
  // `ranks`: of each merge; empty where they are its places.
  CharacterBpe(std::vector<Token> tokens, std::vector<std::pair<TokenId, TokenId>> merges,
               const std::vector<std::int32_t>& ranks, Options options);

  bool has_bytes(std::string_view character) const;
  bool keeps_words(std::string_view piece) const;
  void encode_between(std::string_view piece, std::vector<TokenId>& into) const;

  std::vector<Token> tokens_;
  std::vector<std::string> bytes_;                     // by id
  std::unordered_map<std::string_view, TokenId> ids_;  // of text; views into tokens_
  AddedTokenMatcher whole_;
  std::vector<TokenId> whole_ids_;  // of its entries
  std::array<TokenId, 256> of_byte_{};
  bool has_bytes_ = false;
  bool words_ = true;  // first_part() may cut
  std::vector<std::pair<TokenId, TokenId>> merges_;
  MergeTable table_;
  Options options_;
};

}  // namespace athanor::model
