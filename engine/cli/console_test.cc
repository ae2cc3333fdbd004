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

}  // namespace
}  // namespace athanor::llm
