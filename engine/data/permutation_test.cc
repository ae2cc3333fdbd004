#include "engine/data/permutation.h"

#include <gtest/gtest.h>

#include <set>

namespace athanor::data {
namespace {

TEST(Permuted, IsAPermutationForEveryCountAndKey) {
  for (std::uint64_t count = 1; count < 300; ++count) {
    for (const std::uint64_t key : {0ULL, 1ULL, 0xFFFFFFFFFFFFFFFFULL}) {
      std::set<std::uint64_t> seen;
      for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t to = permuted(i, count, key);
        EXPECT_LT(to, count);
        seen.insert(to);
      }
      EXPECT_EQ(seen.size(), count);
    }
  }
}

TEST(Permuted, DependsOnItsKeyAndLeavesLittleInPlace) {
  std::int64_t in_place = 0, same = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    in_place += permuted(i, 1000, 1) == i;
    same += permuted(i, 1000, 1) == permuted(i, 1000, 2);
  }
  EXPECT_LT(in_place, 10);
  EXPECT_LT(same, 10);
}

}  // namespace
}  // namespace athanor::data
