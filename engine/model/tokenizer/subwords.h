// What turns a piece of text into the ids of a vocabulary: a byte-level BPE (bpe.h), a BPE on characters
// (character_bpe.h), or a sentencepiece model (sentencepiece.h). Immutable and shared by threads.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace athanor::model {

using TokenId = std::int32_t;

// A vocabulary may have holes: ids that no token has. Ids are below this.
inline constexpr TokenId kTokenIdMax = 1 << 22;

class Subwords {
 public:
  virtual ~Subwords() = default;

  // One more than the largest id.
  virtual TokenId id_end() const = 0;
  // `id` may be any number.
  virtual bool has(TokenId id) const = 0;
  // What the token stands for in text; empty for a hole and for a token that controls.
  virtual std::string_view bytes(TokenId id) const = 0;

  // Appends the tokens of one piece, which may be broken UTF-8.
  virtual void encode(std::string_view piece, std::vector<TokenId>& into) const = 0;

  // encode() puts a space in front of a piece.
  virtual bool prefixes() const { return false; }

  // Bytes of the first part of `piece` that no token leaves: encoding the parts one by one gives what encoding the
  // whole does. At least 1 for a piece that is not empty.
  virtual std::size_t first_part(std::string_view piece) const { return piece.size(); }
};

}  // namespace athanor::model
