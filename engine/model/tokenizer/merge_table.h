// The merges of a byte-pair encoding, and their application: again and again the possible merge of the lowest rank,
// among equals the leftmost, until none is possible. Immutable and shared by threads.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/model/tokenizer/subwords.h"

namespace athanor::model {

struct Merge {
  TokenId left, right, result;
  std::int32_t rank;
};

class MergeTable {
 public:
  MergeTable() : MergeTable(std::vector<Merge>()) {}
  // Of several merges of the same pair the first counts.
  explicit MergeTable(const std::vector<Merge>& merges);

  // Merges `tokens` in place. O(n²) with a tiny constant for short sequences, O(n log n) for long ones.
  void apply(std::vector<TokenId>& tokens, std::size_t from = 0) const;

 private:
  struct Slot {
    std::uint64_t pair;  // left << 32 | right; kNoPair in an empty slot
    std::int32_t rank;
    TokenId result;
  };
  static constexpr std::uint64_t kNoPair = ~std::uint64_t{0};

  const Slot* find(TokenId left, TokenId right) const;
  void apply_short(std::vector<TokenId>& tokens, std::size_t from) const;
  void apply_long(std::vector<TokenId>& tokens, std::size_t from) const;

  std::vector<Slot> slots_;  // open addressing; a power of two
};

}  // namespace athanor::model
