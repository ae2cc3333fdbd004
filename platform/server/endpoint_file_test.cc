#include "platform/server/endpoint_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "common/error.h"

namespace athanor::server {
namespace {

class EndpointFileTest : public testing::Test {
 protected:
  EndpointFileTest() {
    char name[] = "/tmp/endpoint-XXXXXX";
    folder_ = mkdtemp(name);
  }
  ~EndpointFileTest() override { std::filesystem::remove_all(folder_); }

  SystemFiles files_;
  std::string folder_;
};

TEST_F(EndpointFileTest, ReadsWhatWasWritten) {
  EXPECT_FALSE(read_endpoint_file(files_, folder_));
  write_endpoint_file(files_, folder_, {"127.0.0.1", 9100, 42, "us-east-1", "000000000000", "arn:r", "b", "AKIA", "s", "/ca"});
  const auto endpoint = read_endpoint_file(files_, folder_);
  ASSERT_TRUE(endpoint);
  EXPECT_EQ(endpoint->port, 9100);
  EXPECT_EQ(endpoint->pid, 42);
  EXPECT_EQ(endpoint->secret_access_key, "s");
  EXPECT_EQ(endpoint->ca_file, "/ca");
  struct stat status {};
  ASSERT_EQ(stat((folder_ + "/endpoint").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(EndpointFileTest, SaysWhatToDoWithAFileThatIsNotOurs) {
  for (const char* text : {"", "[]", "{\"address\": \"x\"}", "{\"port\": \"many\"}"}) {
    std::ofstream(folder_ + "/endpoint") << text;
    try {
      read_endpoint_file(files_, folder_);
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
      EXPECT_NE(std::string(error.what()).find("/endpoint"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace athanor::server
