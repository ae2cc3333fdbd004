#include "platform/node/spool.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include "common/error.h"
#include "common/random.h"
#include "common/temporary_folder.h"

namespace athanor::node {
namespace {

// The system's files, with a disk that can be full.
class FullDisk final : public Files {
 public:
  bool full = false;

  std::unique_ptr<File> open(const std::string& path, Open how, std::uint32_t mode) override {
    return std::make_unique<OneFile>(files_.open(path, how, mode), *this);
  }
  std::optional<FileInfo> stat(const std::string& path) override { return files_.stat(path); }
  std::vector<std::string> list(const std::string& path) override { return files_.list(path); }
  void make_folders(const std::string& path, std::uint32_t mode) override { files_.make_folders(path, mode); }
  void rename(const std::string& from, const std::string& to) override { files_.rename(from, to); }
  bool remove(const std::string& path) override { return files_.remove(path); }
  void sync_folder(const std::string& path) override { files_.sync_folder(path); }

 private:
  class OneFile final : public File {
   public:
    OneFile(std::unique_ptr<File> file, FullDisk& disk) : file_(std::move(file)), disk_(disk) {}
    std::size_t read_at(std::uint64_t offset, std::span<char> into) override { return file_->read_at(offset, into); }
    void write_at(std::uint64_t offset, std::string_view bytes) override {
      if (disk_.full) {
        file_->write_at(offset, bytes.substr(0, bytes.size() / 2));  // as far as there was room
        throw Error(ErrorKind::kExhausted, "writing: No space left on device");
      }
      file_->write_at(offset, bytes);
    }
    void append(std::string_view bytes) override { write_at(size(), bytes); }
    std::uint64_t size() override { return file_->size(); }
    void truncate(std::uint64_t size) override { file_->truncate(size); }
    void sync() override { file_->sync(); }

   private:
    std::unique_ptr<File> file_;
    FullDisk& disk_;
  };
  SystemFiles files_;
};

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

}  // namespace
}  // namespace athanor::node
