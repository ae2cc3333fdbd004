// Text to token ids and back: a byte-level BPE with its pre-tokenizer and its special tokens. Whatever the bytes,
// decode(encode(text)) == text (unless the tokenizer adds a prefix space).
//
// A Tokenizer is immutable and shared by threads. An Encoder belongs to one thread and remembers pieces that it has
// met, which makes it several times faster on long texts.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/tokenizer/bpe.h"
#include "engine/model/tokenizer/pretokenizer.h"

namespace athanor::model {

// Ends a document, in training and in generation.
inline constexpr std::string_view kEndOfText = "<|endoftext|>";

// A token that is recognised as a whole in text, before anything else.
struct AddedToken {
  std::string content;
  TokenId id = 0;
  bool special = true;  // controls; decode() can leave it out
};

class Tokenizer {
 public:
  Tokenizer(Bpe bpe, PreTokenizer pretokenizer, std::vector<AddedToken> added);

  // One more than the largest id: what a model's vocab_size must be at least.
  std::int64_t vocabulary() const { return vocabulary_; }
  // Nothing when there is no such token.
  std::optional<TokenId> find_added(std::string_view content) const;
  // The token that ends a document: kEndOfText, or another of the names in common use. Nothing when there is none.
  std::optional<TokenId> end_of_text() const;

  std::vector<TokenId> encode(std::string_view text) const;
  // The bytes of tokens; they may end, or be broken, anywhere: see Utf8Stream and utf8_repaired(). Throws kInvalid for
  // ids that no token has.
  std::string decode(std::span<const TokenId> tokens, bool with_specials = false) const;
  // The bytes of one token; empty for a special token or a hole in the vocabulary.
  std::string_view bytes(TokenId token) const;

  const Bpe& bpe() const { return bpe_; }
  const PreTokenizer& pretokenizer() const { return pretokenizer_; }
  const std::vector<AddedToken>& added() const { return added_; }

 private:
  friend class Encoder;
  const AddedToken* added_by_id(TokenId id) const;

  Bpe bpe_;
  PreTokenizer pretokenizer_;
  std::vector<AddedToken> added_;
  std::vector<std::string> added_contents_;
  std::int64_t vocabulary_ = 0;
};

class Encoder {
 public:
  // `tokenizer` must outlive it.
  explicit Encoder(const Tokenizer& tokenizer);
  ~Encoder();
  // Appends the tokens of `text`.
  void encode(std::string_view text, std::vector<TokenId>& into);

 private:
  struct Entry;
  void encode_piece(std::string_view piece, std::vector<TokenId>& into);

  const Tokenizer& tokenizer_;
  std::vector<Entry> cache_;  // a piece's place is given by its hash; a newcomer replaces what was there
};

// Calls `part` for each part of a text in order: a special token's number, or -1 for what lies between. The longest of
// the contents that start at the same place is taken.
void for_each_part(std::string_view text, const std::vector<std::string>& contents,
                   const std::function<void(std::string_view part, int content)>& part);

// Where a long text of UTF-8 may be cut so that the tokens of both sides are those of the whole, for the pre-tokenizers in
// use and added tokens that have no spaces or are written <like this>: a place at or before `limit`, or 0 when none is sure.
std::size_t safe_cut(std::string_view text, std::size_t limit);

}  // namespace athanor::model
