#include "common/error.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace athanor {
namespace {

TEST(Error, TellsAllOfItsTextAlsoAfterAZeroByte) {
  const Error error(ErrorKind::kInvalid, "reading the key '{}': no", std::string("a\0b\0", 4));
  EXPECT_STREQ(error.what(), "reading the key 'a\\0b\\0': no");
}

TEST(Error, OfTheSystemHasTheKindOfItsNumber) {
  const Error error = system_error(ENOSPC, "writing x");
  EXPECT_EQ(error.kind(), ErrorKind::kExhausted);
  EXPECT_STREQ(error.what(), "writing x: No space left on device");
}

}  // namespace
}  // namespace athanor
