#include "common/relative_path.h"

#include <gtest/gtest.h>

#include <string>

namespace athanor {
namespace {

TEST(RelativePathTest, StaysBelowItsFolder) {
  for (const char* path : {"a", "a/b/c", "...", ".a", "a..", "..a/b.", "with space/\xff"}) {
    EXPECT_TRUE(is_relative_path(path)) << path;
  }
  for (const char* path : {"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a/../../b"}) {
    EXPECT_FALSE(is_relative_path(path)) << path;
  }
  EXPECT_FALSE(is_relative_path(std::string_view("a\0b", 3)));
}

TEST(RelativePathTest, AFileNameIsOneName) {
  EXPECT_TRUE(is_file_name("train"));
  EXPECT_TRUE(is_file_name(std::string(255, 'a')));
  EXPECT_FALSE(is_file_name(std::string(256, 'a')));
  for (const char* name : {"", ".", "..", "a/b", "a/"}) EXPECT_FALSE(is_file_name(name)) << name;
}

}  // namespace
}  // namespace athanor
