#include "platform/node/spool.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include "common/error.h"
#include "common/random.h"
#include "common/temporary_folder.h"
#include "platform/node/full_disk_for_test.h"

namespace athanor::node {
namespace {

class SpoolTest : public testing::Test {
 protected:
  const TemporaryFolder temporary_;
  const std::string folder_ = temporary_.path();
  FullDisk files_;
};

TEST_F(SpoolTest, GivesBackWhatWasAppendedFromAnyLine) {
  Spool spool(files_, folder_ + "/spool", 1 << 30);
  SeededRandom random(3);
  std::vector<LogLine> all;
  std::vector<std::uint64_t> offsets;
  // Several segments, lines of all sizes, appended in bunches.
  while (spool.end() < 3 * Spool::kSegmentBytes) {
    std::vector<LogLine> bunch;
    for (std::uint64_t i = 1 + random.below(5); i > 0; --i) {
      bunch.push_back({static_cast<std::int64_t>(all.size()), std::string(random.below(60'000), 'x')});
    }
    offsets.push_back(spool.end());
    spool.append(bunch);
    all.insert(all.end(), bunch.begin(), bunch.end());
  }
  std::vector<LogLine> got;
  std::uint64_t at = 0;
  while (at < spool.end()) {
    const Spool::Batch batch = spool.read(at, 100'000);
    ASSERT_FALSE(batch.lines.empty());
    got.insert(got.end(), batch.lines.begin(), batch.lines.end());
    at = batch.end_offset;
    if (random.below(4) == 0) spool.acknowledge(at);
  }
  ASSERT_EQ(got.size(), all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    ASSERT_EQ(got[i].timestamp_ms, all[i].timestamp_ms);
    ASSERT_EQ(got[i].text, all[i].text);
  }
  EXPECT_TRUE(spool.read(spool.end(), 100).lines.empty());
}

TEST_F(SpoolTest, AcknowledgedSegmentsAreRemoved) {
  Spool spool(files_, folder_ + "/spool", 1 << 30);
  const std::vector<LogLine> line{{1, std::string(1 << 20, 'x')}};
  for (int i = 0; i < 40; ++i) spool.append(line);
  const auto before = files_.list(folder_ + "/spool").size();
  EXPECT_GE(before, 4u);
  spool.acknowledge(spool.end());
  EXPECT_EQ(files_.list(folder_ + "/spool").size(), 1u);
  spool.acknowledge(5);  // an old word
  EXPECT_EQ(spool.acknowledged(), spool.end());
}

TEST_F(SpoolTest, IsFullUntilTheServerHasSomeOfIt) {
  Spool spool(files_, folder_ + "/spool", 1000);
  EXPECT_FALSE(spool.full());
  spool.append({{1, std::string(2000, 'x')}});
  EXPECT_TRUE(spool.full());
  spool.acknowledge(spool.end());
  EXPECT_FALSE(spool.full());
}

TEST_F(SpoolTest, AFullDiskLosesNothing) {
  Spool spool(files_, folder_ + "/spool", 1 << 20);
  spool.append({{1, "before"}});
  files_.full = true;
  const std::vector<LogLine> lines{{2, "during"}, {3, "during too"}};
  EXPECT_THROW(spool.append(lines), Error);
  files_.full = false;
  spool.append(lines);
  const Spool::Batch batch = spool.read(0, 1 << 20);
  ASSERT_EQ(batch.lines.size(), 3u);
  EXPECT_EQ(batch.lines[2].text, "during too");
}

TEST_F(SpoolTest, WhatIsGivenUpMakesRoomAndIsNotReadAgain) {
  Spool spool(files_, folder_ + "/spool", 1 << 30);
  spool.append({{1, "first"}});
  spool.acknowledge(spool.end());
  const std::uint64_t before = spool.end();
  spool.append({{2, std::string(3 << 20, 'x')}});
  EXPECT_EQ(spool.give_up(), spool.end() - before);
  EXPECT_TRUE(files_.list(folder_ + "/spool").empty());
  const std::uint64_t at = spool.end();
  spool.append({{3, "after"}});
  const auto batch = spool.read(at, 1 << 20);
  ASSERT_EQ(batch.lines.size(), 1U);
  EXPECT_EQ(batch.lines[0].text, "after");
}

}  // namespace
}  // namespace athanor::node
