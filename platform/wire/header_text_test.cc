#include "platform/wire/header_text.h"

#include <gtest/gtest.h>

namespace athanor::wire {
namespace {

TEST(HeaderText, CaseIsThatOfAsciiAlone) {
  EXPECT_EQ(lower_case("X-Amz-\xC3\x9C[Z]"), "x-amz-\xC3\x9C[z]");
  EXPECT_TRUE(equal_without_case("ETag", "etaG"));
  EXPECT_FALSE(equal_without_case("etag", "etag2"));
  EXPECT_FALSE(equal_without_case("@", "`"));
  EXPECT_TRUE(starts_with_without_case("X-AMZ-Date", "x-amz-"));
  EXPECT_FALSE(starts_with_without_case("x-am", "x-amz-"));
}

TEST(HeaderText, BlanksGoFromBothEndsAndNotFromWithin) {
  EXPECT_EQ(trimmed(" \t a b\t "), "a b");
  EXPECT_EQ(trimmed(" \t"), "");
  EXPECT_EQ(trimmed("\r\n"), "\r\n");
}

}  // namespace
}  // namespace athanor::wire
