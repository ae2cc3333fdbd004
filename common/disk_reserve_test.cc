#include "common/disk_reserve.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "common/temporary_folder.h"

namespace athanor {
namespace {

TEST(DiskReserve, IsKeptGivenAwayAndTakenAgain) {
  SystemFiles files;
  const TemporaryFolder folder;
  const std::string path = folder / "reserve";
  {
    DiskReserve reserve(path, files);
    EXPECT_TRUE(reserve.hold());
    EXPECT_EQ(std::filesystem::file_size(path), 2u << 20);
    reserve.release();
    EXPECT_FALSE(std::filesystem::exists(path));
    reserve.release();  // again is no error
    EXPECT_TRUE(reserve.hold());
  }
  std::filesystem::resize_file(path, 1000);  // a crash in the middle of taking it
  DiskReserve reserve(path, files);
  EXPECT_TRUE(reserve.hold());
  EXPECT_EQ(std::filesystem::file_size(path), 2u << 20);
}

TEST(DiskReserve, IsNotHeldWhereThereIsNoRoom) {
  SystemFiles files;
  DiskReserve reserve("/dev/full/reserve", files);
  EXPECT_FALSE(reserve.hold());
  reserve.release();
}

}  // namespace
}  // namespace athanor
