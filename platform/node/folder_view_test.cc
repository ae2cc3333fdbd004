#include "platform/node/folder_view.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>

#include "common/error.h"
#include "common/temporary_folder.h"

namespace athanor::node {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(FolderView, FindsFoldersInside) {
  const TemporaryFolder folder;
  folder.put("ml/output/data/file", "bytes");
  const FolderView ml(folder / "ml", "/opt/ml");
  const auto inner = ml.folder("output/data");
  ASSERT_TRUE(inner.has_value());
  EXPECT_EQ(inner->path(), "/opt/ml/output/data");
  ASSERT_EQ(inner->walk().size(), 1u);
  EXPECT_EQ(inner->read("file", 100), "bytes");
  EXPECT_FALSE(ml.folder("model").has_value());
  EXPECT_FALSE(ml.folder("absent/data").has_value());
}

TEST(FolderView, FollowsNoLinkToAFolderNorOnTheWayToIt) {
  const TemporaryFolder folder;
  folder.put("elsewhere/data/secret", "treasure");
  folder.put("ml/file", "");
  ASSERT_EQ(symlink((folder / "elsewhere").c_str(), (folder / "ml/output").c_str()), 0);
  const FolderView ml(folder / "ml", "/opt/ml");
  for (const char* path : {"output", "output/data", "file", "file/data"}) {
    try {
      ml.folder(path);
      ADD_FAILURE() << path << " was opened";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalid) << path;
      EXPECT_THAT(error.what(), HasSubstr(std::string("/opt/ml/") + path));
      EXPECT_THAT(error.what(), Not(HasSubstr(folder.path())));
    }
  }
}

}  // namespace
}  // namespace athanor::node
