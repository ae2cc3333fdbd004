#include "platform/node/job_output.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include "common/temporary_folder.h"
#include "platform/node/spool.h"

namespace athanor::node {
namespace {

using testing::HasSubstr;
using testing::Not;

class JobOutputTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kSpoolBytesMax = 10'000;

  JobOutputTest()
      : output_(context_, files_, clock_, {.folder = folder_.path(), .spool_bytes_max = kSpoolBytesMax},
                {.send =
                     [this](const std::string& message) {
                       if (server_is_there_) sent_ += message;
                       return server_is_there_;
                     },
                 .on_finished = [] {},
                 .on_failed = [](const std::string& error) { ADD_FAILURE() << error; }}) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    program_ = Descriptor(ends[1]);
    output_.start(Descriptor(ends[0]), "stream", nullptr);
  }

  std::uint64_t bytes_on_disk() {
    std::uint64_t bytes = 0;
    for (const std::string& name : files_.list(folder_.path())) bytes += files_.stat(folder_ / name)->size;
    return bytes;
  }

  const TemporaryFolder folder_;
  SystemFiles files_;
  VirtualClock clock_{1'700'000'000'000};
  boost::asio::io_context context_;
  Descriptor program_;
  bool server_is_there_ = false;
  std::string sent_;
  JobOutput output_;
};

TEST_F(JobOutputTest, NotesWithoutEndDoNotGrowTheSpoolBeyondItsBound) {
  const std::string note(100, 'n');
  for (int i = 0; i < 1000; ++i) output_.say(note);
  EXPECT_LE(bytes_on_disk(), kSpoolBytesMax + 200);
  server_is_there_ = true;
  output_.link_opened();
  EXPECT_THAT(sent_, HasSubstr(note));
  output_.acknowledged(kSpoolBytesMax + 200);
  sent_.clear();
  output_.say("after");
  EXPECT_THAT(sent_, HasSubstr("after"));
  EXPECT_THAT(sent_, testing::ContainsRegex("left out for want of room: [0-9]+ notes"));
  sent_.clear();
  output_.say("last");
  EXPECT_THAT(sent_, Not(HasSubstr("left out")));
}

}  // namespace
}  // namespace athanor::node
