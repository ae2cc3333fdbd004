#include "engine/cli/own_place.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "common/error.h"
#include "common/temporary_folder.h"

namespace athanor::llm {
namespace {

TEST(OwnPlace, IsFoundByWhateverPathLeadsThere) {
  const TemporaryFolder folder;
  const std::string at = folder.path();
  std::filesystem::create_directories(at + "/model/deep");
  std::filesystem::create_directories(at + "/other");
  std::filesystem::create_symlink(at + "/model", at + "/link");
  std::filesystem::create_symlink("link", at + "/link-to-link");
  std::filesystem::create_symlink(at, at + "/other/up");
  const std::string relative = std::filesystem::relative(at + "/model").string();
  for (const std::string& path :
       {at + "/model", at + "/model/", at + "/model/.", at + "//model", at + "/other/../model", at + "/model/deep/..",
        at + "/link", at + "/link/", at + "/link-to-link", at + "/other/up/model", relative}) {
    SCOPED_TRACE(path);
    EXPECT_TRUE(same_place(path, at + "/model"));
    EXPECT_TRUE(same_place(at + "/model", path));
    try {
      check_own_place(path, "the model's", at + "/model");
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConflict);
      EXPECT_EQ(std::string(error.what()),
                "--out " + path + " is the model's own place, which is still needed: give another folder");
    }
  }
  for (const std::string& path : {at, at + "/model/deep", at + "/model-2", at + "/other", at + "/gone"}) {
    EXPECT_FALSE(same_place(path, at + "/model")) << path;
    EXPECT_NO_THROW(check_own_place(path, "the model's", at + "/model"));
  }
}

TEST(OwnPlace, NeedNotBeThere) {
  const TemporaryFolder folder;
  const std::string at = folder.path();
  std::filesystem::create_symlink(at, at + "/here");
  EXPECT_TRUE(same_place(at + "/gone", at + "/here/gone/"));
  EXPECT_FALSE(same_place(at + "/gone", at + "/gone-2"));
}

}  // namespace
}  // namespace athanor::llm
