#include "common/remove_tree.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "common/temporary_folder.h"

namespace athanor {
namespace {

namespace fs = std::filesystem;

class RemoveTreeTest : public testing::Test {
 protected:
  std::size_t left() const { return std::distance(fs::directory_iterator(folder_), {}); }
  const TemporaryFolder temporary_;
  const fs::path folder_ = temporary_.path();
};

TEST_F(RemoveTreeTest, WhatForbidsIt) {
  fs::create_directories(folder_ / "x/a/b");
  std::ofstream(folder_ / "x/a/b/file") << "1";
  fs::permissions(folder_ / "x/a/b", fs::perms::none);
  fs::permissions(folder_ / "x/a", fs::perms::owner_read);
  fs::permissions(folder_ / "x", fs::perms::none);
  remove_tree(folder_ / "x");
  EXPECT_EQ(left(), 0U);
}

TEST_F(RemoveTreeTest, DeeperThanThereAreDescriptors) {
  const int back = ::open(".", O_RDONLY | O_DIRECTORY);
  fs::create_directory(folder_ / "x");
  ASSERT_EQ(::chdir((folder_ / "x").c_str()), 0);
  for (int i = 0; i < 700; ++i) {  // beyond PATH_MAX, too
    ASSERT_EQ(::mkdir("deeper", 0700), 0);
    ASSERT_EQ(::chdir("deeper"), 0);
  }
  ASSERT_EQ(::fchdir(back), 0);
  ::close(back);
  remove_tree(folder_ / "x");
  EXPECT_EQ(left(), 0U);
}

TEST_F(RemoveTreeTest, LinksAreNotFollowed) {
  fs::create_directories(folder_ / "kept");
  std::ofstream(folder_ / "kept/file") << "1";
  fs::create_directories(folder_ / "x");
  fs::create_directory_symlink(folder_ / "kept", folder_ / "x/link");
  fs::create_directory_symlink(folder_ / "kept", folder_ / "y");
  remove_tree(folder_ / "x");
  remove_tree(folder_ / "y");
  EXPECT_EQ(left(), 1U);
  EXPECT_TRUE(fs::exists(folder_ / "kept/file"));
}

TEST_F(RemoveTreeTest, WhatIsAbsentIsRemovedAlready) {
  remove_tree(folder_ / "nothing");
  remove_tree(folder_ / "no/thing");
}

}  // namespace
}  // namespace athanor
