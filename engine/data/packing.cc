#include "engine/data/packing.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "common/error.h"
#include "engine/data/permutation.h"

namespace athanor::data {

namespace {

constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

// Rows by the room that they have left; finds the least room that suffices.
class OpenRows {
 public:
  explicit OpenRows(std::int64_t length)
      : newest_(static_cast<std::size_t>(length) + 1, kNone), words_((static_cast<std::size_t>(length) + 64) / 64) {}

  void put(std::uint32_t row, std::size_t room) {
    if (row >= older_.size()) older_.resize(row + 1);
    older_[row] = newest_[room];
    newest_[room] = row;
    words_[room / 64] |= std::uint64_t{1} << (room % 64);
  }

  // The fullest row with room for `length`, and its room; kNone when there is none.
  std::pair<std::uint32_t, std::size_t> take(std::size_t length) {
    std::size_t word = length / 64;
    std::uint64_t bits = words_[word] & ~std::uint64_t{0} << (length % 64);
    while (bits == 0) {
      if (++word == words_.size()) return {kNone, 0};
      bits = words_[word];
    }
    const std::size_t room = word * 64 + static_cast<std::size_t>(std::countr_zero(bits));
    const std::uint32_t row = newest_[room];
    newest_[room] = older_[row];
    if (newest_[room] == kNone) words_[word] &= ~(std::uint64_t{1} << (room % 64));
    return {row, room};
  }

 private:
  std::vector<std::uint32_t> newest_;  // by room: the row that got it last
  std::vector<std::uint32_t> older_;   // by row: the one before it with the same room
  std::vector<std::uint64_t> words_;   // a bit for each room that some row has
};

}  // namespace

Packing::Packing(std::vector<Piece> pieces, std::int64_t length) {
  ATHANOR_ASSERT(length >= 1 && length < std::numeric_limits<std::int32_t>::max());
  if (pieces.size() >= kNone) {
    throw Error(ErrorKind::kExhausted, "Packing {} documents: {} are the most; divide the data", pieces.size(),
                kNone - 1);
  }
  std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
    return a.length != b.length ? a.length > b.length : a.first < b.first;
  });
  first_.reserve(pieces.size());
  for (const Piece& piece : pieces) {
    ATHANOR_ASSERT(piece.length >= 1 && piece.length <= length);
    if (classes_.empty() || classes_.back().length != piece.length) {
      classes_.push_back({static_cast<std::uint32_t>(first_.size()), piece.length});
    }
    first_.push_back(piece.first);
    predictions_ += piece.length;
  }
  classes_.push_back({static_cast<std::uint32_t>(first_.size()), 0});
  fill_rows(length);
}

void Packing::fill_rows(std::int64_t length) {
  std::vector<std::uint32_t> row_of(first_.size());
  OpenRows open(length);
  std::uint32_t rows = 0;
  for (std::size_t c = 0; c + 1 < classes_.size(); ++c) {
    const auto size = static_cast<std::size_t>(classes_[c].length);
    for (std::uint32_t i = classes_[c].begin; i < classes_[c + 1].begin; ++i) {
      auto [row, room] = open.take(size);
      if (row == kNone) {
        row = rows++;
        room = static_cast<std::size_t>(length);
      }
      row_of[i] = row;
      open.put(row, room - size);
    }
  }
  // Counting sort by row; within a row the longest comes first.
  row_begin_.assign(rows + std::size_t{1}, 0);
  for (const std::uint32_t row : row_of) ++row_begin_[row + std::size_t{1}];
  for (std::size_t row = 0; row < rows; ++row) row_begin_[row + 1] += row_begin_[row];
  slots_.resize(row_of.size());
  std::vector<std::uint32_t> next(row_begin_.begin(), row_begin_.end() - 1);
  for (std::uint32_t i = 0; i < row_of.size(); ++i) slots_[next[row_of[i]]++] = i;
}

void Packing::row(std::int64_t index, std::uint64_t key, std::vector<Piece>& into) const {
  ATHANOR_ASSERT(index >= 0 && index < rows());
  into.clear();
  const auto at = static_cast<std::size_t>(index);
  for (std::uint32_t i = row_begin_[at]; i < row_begin_[at + 1]; ++i) {
    const std::uint32_t slot = slots_[i];
    const auto after = std::upper_bound(classes_.begin(), classes_.end(), slot,
                                        [](std::uint32_t place, const Class& c) { return place < c.begin; });
    const Class& found = *(after - 1);
    const auto size = static_cast<std::uint64_t>(after->begin - found.begin);
    const std::uint64_t drawn =
        permuted(slot - found.begin, size, mixed(key, static_cast<std::uint64_t>(found.length)));
    into.push_back({first_[found.begin + static_cast<std::size_t>(drawn)], found.length});
  }
}

}  // namespace athanor::data
