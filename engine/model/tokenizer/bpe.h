// Byte-pair encoding: a vocabulary of byte strings and the merges that build them from single bytes, the earliest merge
// first (Sennrich et al., 2016; on bytes: Radford et al., 2019). Immutable and shared by threads.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace athanor::model {

using TokenId = std::int32_t;

class Bpe {
 public:
  // A vocabulary may have holes: ids that no token has. Ids are below this.
  static constexpr TokenId kIdMax = 1 << 22;

  // `vocabulary`: (bytes, id), every id once, all 256 single bytes among them. `merges`: pairs of ids in order of
  // their rank, whose concatenation is in the vocabulary. `whole_pieces_first`: a piece that is a token is that token,
  // whatever the merges say (Hugging Face's ignore_merges). Throws kInvalid.
  Bpe(const std::vector<std::pair<std::string, TokenId>>& vocabulary, std::vector<std::pair<TokenId, TokenId>> merges,
      bool whole_pieces_first);

  // One more than the largest id.
  TokenId id_end() const { return static_cast<TokenId>(bytes_.size()); }
  bool has(TokenId id) const;
  // The token's bytes; empty for a hole.
  std::string_view bytes(TokenId id) const { return bytes_[static_cast<std::size_t>(id)]; }
  std::span<const std::pair<TokenId, TokenId>> merges() const { return merges_; }
  bool whole_pieces_first() const { return whole_pieces_first_; }

  // Appends the tokens of one piece. O(n log n) for long pieces.
  void encode(std::string_view piece, std::vector<TokenId>& into) const;

 private:
  struct Merge {
    std::uint64_t pair;  // left << 32 | right; kNoPair in an empty slot
    std::int32_t rank;
    TokenId result;
  };
  static constexpr std::uint64_t kNoPair = ~std::uint64_t{0};

  const Merge* find(TokenId left, TokenId right) const;
  void encode_short(std::string_view piece, std::vector<TokenId>& into) const;
  void encode_long(std::string_view piece, std::vector<TokenId>& into) const;

  std::vector<std::string> bytes_;  // by id
  std::unordered_map<std::string_view, TokenId> ids_;  // views into bytes_
  std::array<TokenId, 256> of_byte_{};
  std::vector<std::pair<TokenId, TokenId>> merges_;
  std::vector<Merge> table_;  // open addressing; a power of two
  bool whole_pieces_first_;
};

}  // namespace athanor::model
