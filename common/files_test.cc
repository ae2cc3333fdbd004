#include "common/files.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include "common/crashing_files_test_support.h"
#include "common/error.h"
#include "common/temporary_folder.h"

namespace athanor {
namespace {

class SystemFilesTest : public testing::Test {
 protected:
  SystemFiles files_;
  const TemporaryFolder temporary_;
  const std::string root_ = temporary_.path();
};

TEST_F(SystemFilesTest, ReplaceLeavesTheNewContentsAndNoTemporary) {
  files_.replace(root_ + "/a", "one");
  files_.replace(root_ + "/a", "two");
  EXPECT_EQ(files_.read_all(root_ + "/a"), "two");
  EXPECT_EQ(files_.list(root_), std::vector<std::string>{"a"});
}

TEST_F(SystemFilesTest, MakesFoldersAboveAndRemovesAllBelow) {
  files_.make_folders(root_ + "/x/y/z", 0755);
  files_.replace(root_ + "/x/y/z/f", "1");
  files_.remove_all(root_ + "/x");
  EXPECT_FALSE(files_.stat(root_ + "/x"));
}

TEST_F(SystemFilesTest, ErrorsNameThePath) {
  try {
    files_.open(root_ + "/absent", Files::Open::kRead, 0);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNotFound);
    EXPECT_NE(std::string(error.what()).find(root_ + "/absent"), std::string::npos);
  }
}

TEST(FolderOf, IsWhereAPathLies) {
  const struct {
    const char *path, *folder;
  } cases[] = {{"/a/b/c", "/a/b"}, {"a/b", "a"}, {"./a", "."}, {"a", "."}, {"/a", "/"}};
  for (const auto& one : cases) EXPECT_EQ(folder_of(one.path), one.folder) << one.path;
}

TEST_F(SystemFilesTest, ANameOutlivesAPowerFailureOnceItsFolderIsSynced) {
  CrashingFiles files(1000);
  files.open(root_ + "/synced", Files::Open::kCreateNew, 0644);
  files.sync_folder_of(root_ + "/synced");
  files.open(root_ + "/later", Files::Open::kCreateNew, 0644);
  files.lose_power();
  EXPECT_EQ(files.list(root_), std::vector<std::string>{"synced"});
}

TEST_F(SystemFilesTest, ReadsFilesOfUnknownSize) { EXPECT_FALSE(files_.read_all("/proc/self/status").empty()); }

}  // namespace
}  // namespace athanor
