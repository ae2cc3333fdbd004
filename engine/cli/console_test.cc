#include "engine/cli/console.h"

#include <gtest/gtest.h>

#include <cmath>

namespace athanor::llm {
namespace {

TEST(FormatSeconds, ReadsAsPeopleSayIt) {
  EXPECT_EQ(format_seconds(0.4), "0 s");
  EXPECT_EQ(format_seconds(59.6), "1 min 0 s");
  EXPECT_EQ(format_seconds(725), "12 min 5 s");
  EXPECT_EQ(format_seconds(12'000), "3 h 20 min");
  EXPECT_EQ(format_seconds(NAN), "?");
  EXPECT_EQ(format_seconds(INFINITY), "?");
}

TEST(FormatCount, GroupsDigits) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(12'345'678), "12,345,678");
  EXPECT_EQ(format_count(-1234), "-1,234");
}

}  // namespace
}  // namespace athanor::llm
