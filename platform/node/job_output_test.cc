#include "platform/node/job_output.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include "common/temporary_folder.h"
#include "platform/node/full_disk_for_test.h"
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

// A program that prints on a disk that fills, with a server that acknowledges nothing.
class JobOutputOnAFullDiskTest : public testing::Test {
 protected:
  JobOutputOnAFullDiskTest()
      : output_(context_, disk_, clock_, {.folder = folder_.path(), .window_bytes = 1000, .disk_full_max_ms = 60'000},
                {.send = [this](const std::string& message) { return sent_ += message, true; },
                 .on_finished = [] {},
                 .on_failed = [this](const std::string& error) { failure_ = error; }}) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    program_ = Descriptor(ends[1]);
    output_.start(Descriptor(ends[0]), "stream", nullptr);
  }

  void print(const std::string& text) {
    EXPECT_EQ(::write(program_.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    context_.run_for(std::chrono::milliseconds(50));
  }
  void pass(std::int64_t time_ms) {
    clock_.advance_ms(time_ms);
    context_.run_for(std::chrono::milliseconds(700));  // it looks every 500 ms
  }

  const TemporaryFolder folder_;
  FullDisk disk_;
  VirtualClock clock_{1'700'000'000'000};
  boost::asio::io_context context_;
  Descriptor program_;
  std::string sent_;
  std::string failure_;
  JobOutput output_;
};

TEST_F(JobOutputOnAFullDiskTest, GivesUpWhatIsNotStoredAndSaysSo) {
  print("first\n");
  disk_.full = true;
  print("second\n");
  pass(59'000);
  EXPECT_EQ(failure_, "");
  pass(2'000);
  EXPECT_THAT(failure_,
              testing::MatchesRegex(
                  "writing: No space left on device; [0-9]+ bytes of output that were not stored are given up"));
  disk_.full = false;
  print("third\n");
  EXPECT_THAT(sent_, HasSubstr("first"));
  EXPECT_THAT(sent_, Not(HasSubstr("second")));
  EXPECT_THAT(sent_, Not(HasSubstr("third")));
}

TEST_F(JobOutputOnAFullDiskTest, ItsOwnSpoolIsRoomForTheLastLine) {
  for (int i = 0; i < 20; ++i) print(std::string(99, 'x') + "\n");
  disk_.full = disk_.removing_makes_room = true;
  print("last\n");
  pass(31'000);
  EXPECT_THAT(failure_, HasSubstr("given up")) << "sooner, where so much waits";
  EXPECT_THAT(sent_, HasSubstr("[athanor] the disk is full: the output ends here, "));
  EXPECT_EQ(disk_.list(folder_.path()).size(), 1U) << "that line's";
}

}  // namespace
}  // namespace athanor::node
