#include "engine/data/packing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "common/random.h"

namespace athanor::data {
namespace {

using testing::ElementsAre;

// Lengths as texts have them: many short, few long.
std::vector<Piece> random_pieces(std::size_t count, std::int64_t length, std::uint64_t seed) {
  SeededRandom random(seed);
  std::vector<Piece> pieces;
  std::int64_t first = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto size = 1 + static_cast<std::int64_t>(random.below(1 + random.below(static_cast<std::uint64_t>(length))));
    pieces.push_back({first, static_cast<std::int32_t>(size)});
    first += size + 1;
  }
  return pieces;
}

std::vector<std::vector<Piece>> rows_of(const Packing& packing, std::uint64_t key) {
  std::vector<std::vector<Piece>> rows(static_cast<std::size_t>(packing.rows()));
  for (std::size_t i = 0; i < rows.size(); ++i) packing.row(static_cast<std::int64_t>(i), key, rows[i]);
  return rows;
}

TEST(Packing, HoldsEveryPieceOnceInRowsThatAreNotTooLong) {
  for (const std::int64_t length : {1, 2, 63, 64, 65, 1000}) {
    for (const std::size_t count : {0, 1, 2, 500}) {
      const std::vector<Piece> pieces = random_pieces(count, length, count);
      const Packing packing(pieces, length);
      EXPECT_EQ(packing.pieces(), static_cast<std::int64_t>(count));
      for (const std::uint64_t key : {0, 1}) {
        std::vector<Piece> all;
        for (const auto& row : rows_of(packing, key)) {
          std::int64_t sum = 0;
          for (const Piece& piece : row) sum += piece.length;
          EXPECT_LE(sum, length);
          EXPECT_GE(sum, 1);
          all.insert(all.end(), row.begin(), row.end());
        }
        std::sort(all.begin(), all.end(), [](const Piece& a, const Piece& b) { return a.first < b.first; });
        EXPECT_EQ(all, pieces);
      }
    }
  }
}

TEST(Packing, TakesTheFullestRowThatHasRoom) {
  // 6 opens a row with 4 left, 5 one with 5; 4 goes to the fuller, 3 to the other, 2 there too; 2 opens a third.
  const Packing packing({{0, 2}, {10, 3}, {20, 6}, {30, 4}, {40, 5}, {50, 2}}, 10);
  std::vector<std::vector<std::int32_t>> lengths;
  for (const auto& row : rows_of(packing, 0)) {
    lengths.emplace_back();
    for (const Piece& piece : row) lengths.back().push_back(piece.length);
  }
  EXPECT_THAT(lengths, ElementsAre(ElementsAre(6, 4), ElementsAre(5, 3, 2), ElementsAre(2)));
}

TEST(Packing, LeavesLittleEmptyAndMixesThePiecesInEveryEpoch) {
  const Packing packing(random_pieces(20'000, 512, 1), 512);
  EXPECT_LT(static_cast<double>(packing.rows() * 512), 1.005 * static_cast<double>(packing.predictions()) + 512);
  const auto one = rows_of(packing, 1), again = rows_of(packing, 1), other = rows_of(packing, 2);
  EXPECT_EQ(one, again);
  std::size_t same = 0;
  for (std::size_t i = 0; i < one.size(); ++i) same += one[i] == other[i];
  EXPECT_LT(same, one.size() / 10);
}

}  // namespace
}  // namespace athanor::data
