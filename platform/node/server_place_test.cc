#include "platform/node/server_place.h"

#include <gtest/gtest.h>

#include "common/error.h"
#include "common/files.h"
#include "common/temporary_folder.h"

namespace athanor::node {
namespace {

TEST(ServerPlaceTest, IsWhatTheFileSaysNow) {
  const TemporaryFolder folder;
  SystemFiles files;
  const std::string path = folder / "server";
  EXPECT_THROW(ServerPlace("http://127.0.0.1:9100", path), Error);
  const auto file = files.open(path, Files::Open::kCreate, 0600);
  const ServerPlace place("http://127.0.0.1:9100", path);
  const auto write = [&](const std::string& text) {
    file->write_at(0, text);
    file->truncate(text.size());
    return place.now().url();
  };
  EXPECT_EQ(place.now().url(), "http://127.0.0.1:9100") << "nothing was written yet";
  EXPECT_EQ(write("http://127.0.0.1:30000\n"), "http://127.0.0.1:30000");
  EXPECT_EQ(write("http://[::1]:93\n"), "http://[::1]:93");
  for (const char* none : {"http://127.0.0.1:93", "127.0.0.1:93\n", "\n", ""}) {
    EXPECT_EQ(write(none), "http://127.0.0.1:9100") << none;
  }
}

TEST(ServerPlaceTest, IsOneUrlWithoutAFile) {
  EXPECT_EQ(ServerPlace("https://10.0.0.1:9100").now().url(), "https://10.0.0.1:9100");
  EXPECT_THROW(ServerPlace("nowhere"), Error);
}

}  // namespace
}  // namespace athanor::node
