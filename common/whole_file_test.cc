#include "common/whole_file.h"

#include <gtest/gtest.h>

#include "common/crashing_files_test_support.h"
#include "common/error.h"
#include "common/temporary_folder.h"

namespace athanor {
namespace {

class WholeFileTest : public testing::Test {
 protected:
  SystemFiles files_;
  const TemporaryFolder folder_;
  const std::string path_ = folder_ / "file";
};

TEST_F(WholeFileTest, AppearsWhenItIsFinished) {
  WholeFile file(files_, path_);
  file->append("-irst");
  file->write_at(0, "f");
  EXPECT_FALSE(files_.stat(path_));
  EXPECT_TRUE(files_.stat(WholeFile::temporary_path(path_)));
  file.finish();
  EXPECT_EQ(files_.list(folder_.path()), std::vector<std::string>{"file"});
  EXPECT_EQ(files_.read_all(path_), "first");
}

TEST_F(WholeFileTest, WhatIsUnfinishedIsRemovedAndWhatWasThereBeforeStays) {
  files_.replace(path_, "before");
  { WholeFile(files_, path_)->append("after"); }
  EXPECT_EQ(files_.list(folder_.path()), std::vector<std::string>{"file"});
  EXPECT_EQ(files_.read_all(path_), "before");
}

TEST_F(WholeFileTest, AFileOfTheCallersStaysWhereItIs) {
  for (const bool finished : {true, false}) {
    WholeFile file(files_.open(path_, Files::Open::kTruncate, 0644));
    EXPECT_EQ(file.path(), "");
    file->append("whole");
    if (finished) file.finish();
    EXPECT_EQ(files_.list(folder_.path()), std::vector<std::string>{"file"});
    EXPECT_EQ(files_.read_all(path_), "whole");
  }
  EXPECT_EQ(files_.list(folder_.path()), std::vector<std::string>{"file"});
}

TEST_F(WholeFileTest, IsWholeOrAbsentWhereverItsWriterEndsAndDurableOnceItIsFinished) {
  for (std::int64_t at = 0;; ++at) {
    CrashingFiles files(at);
    bool finished = false;
    try {
      WholeFile file(files, path_);
      file->append("all of");
      file->append(" it");
      file.finish();
      finished = true;
    } catch (const Error&) {
    }
    EXPECT_EQ(finished, !files.crashed()) << at;
    files.lose_power();
    const bool there = files.stat(path_).has_value();
    EXPECT_EQ(there, finished) << at;
    if (there) {
      EXPECT_EQ(files_.read_all(path_), "all of it") << at;
    }
    if (finished) break;
  }
}

}  // namespace
}  // namespace athanor
