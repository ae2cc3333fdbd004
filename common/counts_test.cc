#include "common/counts.h"

#include <gtest/gtest.h>

namespace athanor {
namespace {

TEST(FormatCount, GroupsDigits) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(12'345'678), "12,345,678");
  EXPECT_EQ(format_count(-1234), "-1,234");
}

TEST(FormatCount, NamesOneAndMany) {
  EXPECT_EQ(format_count(0, "step"), "0 steps");
  EXPECT_EQ(format_count(1, "step"), "1 step");
  EXPECT_EQ(format_count(2, "step"), "2 steps");
  EXPECT_EQ(format_count(1001, "step"), "1,001 steps");
}

}  // namespace
}  // namespace athanor
