// Short documents packed into rows of a fixed length, by best fit in order of falling length: each piece goes into the
// fullest row that still has room for it. On real texts that leaves well under 1% of the rows empty.
//
// Which lengths lie together depends on the lengths alone, so every epoch has the same number of rows; which of the
// pieces of a length lies where is drawn anew for each. Any row of any epoch is therefore known without having gone there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace athanor::data {

// A part of a document: its tokens [first, first + length] make `length` predictions, each of the next token.
struct Piece {
  std::int64_t first = 0;
  std::int32_t length = 0;
  bool operator==(const Piece&) const = default;
};

// Immutable; any thread. Keeps some 20 bytes for each piece.
class Packing {
 public:
  // Every piece has a length in [1, length].
  Packing(std::vector<Piece> pieces, std::int64_t length);

  std::int64_t rows() const { return static_cast<std::int64_t>(row_begin_.size()) - 1; }
  std::int64_t pieces() const { return static_cast<std::int64_t>(first_.size()); }
  std::int64_t predictions() const { return predictions_; }  // of all pieces
  // Replaces `into` by the pieces of a row, in the epoch that `key` chooses.
  void row(std::int64_t index, std::uint64_t key, std::vector<Piece>& into) const;

 private:
  // Pieces of one length; in the order of first_, longest lengths first.
  struct Class {
    std::uint32_t begin = 0;
    std::int32_t length = 0;
  };
  void fill_rows(std::int64_t length);

  std::vector<std::int64_t> first_;       // (pieces) sorted by falling length
  std::vector<Class> classes_;            // and one that ends the last
  std::vector<std::uint32_t> slots_;      // (pieces) by row: places in first_
  std::vector<std::uint32_t> row_begin_;  // (rows + 1) in slots_
  std::int64_t predictions_ = 0;
};

}  // namespace athanor::data
