#include "platform/storage/log_store.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "common/crashing_files_test_support.h"
#include "common/error.h"
#include "common/random.h"
#include "common/temporary_folder.h"

namespace athanor::storage {
namespace {

constexpr char kGroup[] = "/aws/sagemaker/TrainingJobs";
constexpr char kStream[] = "job/algo-1-1700000000";

class LogStoreTest : public testing::Test {
 protected:
  LogStoreTest() { reopen(); }

  void reopen() {
    store_.reset();
    store_ = open_log_store(folder_, files_, clock_);
  }

  // Lines of the sender's spool, "text\n" each, from `offset` on; returns what the store has taken.
  std::uint64_t send(std::uint64_t offset, const std::vector<std::string>& lines, std::int64_t timestamp_ms = 1000) {
    std::vector<LogEvent> events;
    std::uint64_t end = offset;
    for (const std::string& line : lines) {
      events.push_back({timestamp_ms, 0, line, 0});
      end += line.size() + 1;
    }
    return store_->append(kGroup, kStream, sender_, offset, end, events);
  }

  std::vector<std::string> messages(std::uint64_t position = 0) {
    std::vector<std::string> result;
    for (const LogEvent& event : store_->read(kGroup, kStream, position, 1 << 30, SIZE_MAX)) {
      result.push_back(event.message);
    }
    return result;
  }

  std::string events_file() const { return folder_ + "/1/events"; }

  const TemporaryFolder temporary_;
  const std::string folder_ = temporary_.path();
  SystemFiles files_;
  VirtualClock clock_{1'700'000'000'000};
  std::unique_ptr<Logs> store_;
  std::string sender_ = "i1-1-1";
};

using Lines = std::vector<std::string>;

TEST_F(LogStoreTest, GivesBackWhatItTook) {
  EXPECT_EQ(send(0, {"a", "bb"}), 5u);
  EXPECT_EQ(send(5, {""}, 2000), 6u);
  EXPECT_EQ(messages(), (Lines{"a", "bb", ""}));
  const auto events = store_->read(kGroup, kStream, 1, 10, 1000);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].position, 1u);
  EXPECT_EQ(events[1].timestamp_ms, 2000);
  EXPECT_EQ(events[1].ingestion_ms, 1'700'000'000'000);
  const auto streams = store_->streams(kGroup, "job/");
  ASSERT_EQ(streams.size(), 1u);
  EXPECT_EQ(streams[0].name, kStream);
  EXPECT_EQ(streams[0].events, 3u);
  EXPECT_EQ(streams[0].bytes, 3u);
  EXPECT_EQ(streams[0].first_event_ms, 1000);
  EXPECT_EQ(streams[0].last_event_ms, 2000);
}

TEST_F(LogStoreTest, DropsWhatASenderRepeats) {
  EXPECT_EQ(send(0, {"a", "bb"}), 5u);
  EXPECT_EQ(send(0, {"a", "bb"}), 5u);
  EXPECT_EQ(send(2, {"bb", "ccc", "d"}), 11u) << "a batch that overlaps gives only its new part";
  EXPECT_EQ(messages(), (Lines{"a", "bb", "ccc", "d"}));
}

// A job that is deleted and made again within a second writes to the same stream.
TEST_F(LogStoreTest, AnotherSenderGoesOnBehindWhatIsThere) {
  EXPECT_EQ(send(0, {"a", "bb"}), 5u);
  for (const char* sender : {"i2-1-1", "i3-1-1"}) {
    sender_ = sender;
    EXPECT_EQ(send(0, {"c"}), 2u);
    EXPECT_EQ(send(0, {"c"}), 2u) << "its own repetition";
    reopen();
    EXPECT_EQ(send(0, {"c", "dd"}), 5u) << "also after a restart";
  }
  EXPECT_EQ(messages(), (Lines{"a", "bb", "c", "dd", "c", "dd"}));
}

TEST_F(LogStoreTest, WhoBeganAStreamBeforeSendersWereKeptGoesOnWithIt) {
  EXPECT_EQ(send(0, {"a", "bb"}), 5u);
  store_.reset();
  files_.replace(folder_ + "/1/name",
                 R"({"group":"/aws/sagemaker/TrainingJobs","stream":"job/algo-1-1700000000","created_ms":1})");
  reopen();
  EXPECT_EQ(send(0, {"a", "bb", "c"}), 7u);
  EXPECT_EQ(messages(), (Lines{"a", "bb", "c"}));
}

TEST_F(LogStoreTest, KeepsEverythingOverARestart) {
  Lines all;
  std::uint64_t offset = 0;
  for (int i = 0; i < 1000; ++i) {
    all.push_back("line " + std::to_string(i));
    offset = send(offset, {all.back()}, i);
    if (i % 300 == 0) reopen();
  }
  reopen();
  EXPECT_EQ(messages(), all);
  EXPECT_EQ(send(offset, {"more"}), offset + 5);
  EXPECT_EQ(store_->streams(kGroup, "")[0].events, 1001u);
  EXPECT_EQ(store_->streams(kGroup, "")[0].first_event_ms, 0);
}

TEST_F(LogStoreTest, CutsOffATornTailAtEveryLength) {
  std::uint64_t offset = 0;
  for (int i = 0; i < 70; ++i) offset = send(offset, {"line " + std::to_string(i)});
  const std::uint64_t whole = std::filesystem::file_size(events_file());
  const std::uint64_t end = send(offset, {"torn", "off"});
  const std::uint64_t torn = std::filesystem::file_size(events_file());
  store_.reset();
  const std::string bytes = files_.read_all(events_file());
  for (std::uint64_t length = whole; length < torn; ++length) {
    files_.open(events_file(), Files::Open::kTruncate, 0600)->append(std::string_view(bytes).substr(0, length));
    reopen();
    EXPECT_EQ(messages().size(), 70u) << length;
    EXPECT_EQ(std::filesystem::file_size(events_file()), whole);
    store_.reset();
  }
  reopen();
  EXPECT_EQ(send(offset, {"torn", "off"}), end) << "the sender repeats what was not acknowledged";
  EXPECT_EQ(messages().size(), 72u);
}

TEST_F(LogStoreTest, RebuildsADamagedIndex) {
  std::uint64_t offset = 0;
  for (int i = 0; i < 500; ++i) offset = send(offset, {"line " + std::to_string(i)}, i);
  store_.reset();
  const std::string index_file = folder_ + "/1/index";
  const std::string index = files_.read_all(index_file);
  EXPECT_EQ(index.size(), 8u * 16);
  SeededRandom random(3);
  for (int round = 0; round < 50; ++round) {
    std::string damaged = index;
    // Offsets only: a wrong time in an entry is not seen, as it is not covered by events.
    damaged[random.below(8) * 16 + random.below(8)] ^= static_cast<char>(1 + random.below(255));
    damaged.resize(random.below(damaged.size() + 1));
    files_.open(index_file, Files::Open::kTruncate, 0600)->append(damaged);
    reopen();
    EXPECT_EQ(messages().size(), 500u) << "round " << round;
    EXPECT_EQ(store_->seek(kGroup, kStream, 321), 321u);
    store_.reset();
  }
  reopen();
}

TEST_F(LogStoreTest, SeeksByTimeAlthoughTimesMayStepBack) {
  SeededRandom random(4);
  std::vector<std::int64_t> times;
  std::uint64_t offset = 0;
  for (int i = 0; i < 1000; ++i) {
    times.push_back(i * 10 - static_cast<std::int64_t>(random.below(200)));
    offset = send(offset, {"x"}, times.back());
  }
  for (std::int64_t at = -300; at < 10'300; at += 97) {
    std::uint64_t expected = 0;
    while (expected < times.size() && times[expected] < at) ++expected;
    EXPECT_EQ(store_->seek(kGroup, kStream, at), expected) << at;
  }
}

TEST_F(LogStoreTest, BoundsWhatAReadReturns) {
  send(0, {std::string(100, 'a'), std::string(100, 'b'), std::string(100, 'c')});
  EXPECT_EQ(store_->read(kGroup, kStream, 0, 2, 1000).size(), 2u);
  EXPECT_EQ(store_->read(kGroup, kStream, 0, 10, 200).size(), 2u);
  EXPECT_EQ(store_->read(kGroup, kStream, 0, 10, 1).size(), 1u) << "one event always, or a reader would never advance";
  EXPECT_TRUE(store_->read(kGroup, kStream, 3, 10, 1000).empty());
}

TEST_F(LogStoreTest, TakesLargeMessages) {
  const std::string large(700'000, 'x');
  send(0, {large, "small", large});
  reopen();
  EXPECT_TRUE(messages() == (Lines{large, "small", large}));
}

TEST_F(LogStoreTest, ManyWritersAndReadersAtOnce) {
  std::atomic<bool> over = false;
  std::vector<std::thread> writers;
  for (int w = 0; w < 4; ++w) {
    writers.emplace_back([&, w] {
      const std::string stream = "job/algo-" + std::to_string(w % 2);
      for (int i = 0; i < 100; ++i) store_->append(kGroup, stream, sender_, 0, 0, {{i, 0, std::to_string(w), 0}});
    });
  }
  std::thread reader([&] {
    while (!over) {
      for (const LogStream& stream : store_->streams(kGroup, "")) {
        EXPECT_GE(store_->read(kGroup, stream.name, 0, 1000, 1 << 20).size(), stream.events);
      }
    }
  });
  for (auto& writer : writers) writer.join();
  over = true;
  reader.join();
  EXPECT_EQ(store_->read(kGroup, "job/algo-0", 0, 1000, 1 << 20).size(), 200u);
}

// At every write, sync and rename, the process ends or the power fails: what was acknowledged is there, and a sender that
// repeats the rest brings every line in once.
TEST_F(LogStoreTest, LosesNothingAcknowledgedWhateverChangeIsTheLast) {
  const Lines lines = {"a", "bb", "", "dddd"};
  bool ended = false;
  for (std::int64_t at = 0; !ended; ++at) {
    for (const bool power : {false, true}) {
      SCOPED_TRACE(testing::Message() << "change " << at << (power ? ", power lost" : ""));
      store_.reset();
      files_.remove_all(folder_);
      files_.make_folders(folder_, 0700);
      const auto go_on = [&](const std::string& sender, std::uint64_t& taken) {
        sender_ = sender;
        std::uint64_t begin = 0;
        for (const std::string& line : lines) {
          const std::uint64_t end = begin + line.size() + 1;
          if (end > taken) taken = send(begin, {line});
          begin = end;
        }
      };
      std::uint64_t taken[2] = {0, 0};
      const auto all = [&] {
        go_on("i1-1-1", taken[0]);
        go_on("i2-1-1", taken[1]);
      };
      CrashingFiles crashing(at);
      try {
        store_ = open_log_store(folder_, crashing, clock_);
        all();
        ended = true;
      } catch (const Error&) {
        EXPECT_TRUE(crashing.crashed());
      }
      store_.reset();
      if (power) crashing.lose_power();
      reopen();
      const Lines kept = store_->has_group(kGroup) ? messages() : Lines();
      std::size_t kept_bytes = 0;
      for (const std::string& line : kept) kept_bytes += line.size() + 1;
      EXPECT_GE(kept_bytes, taken[0] + taken[1]);
      if (ended || taken[1] > 0) {
        go_on("i2-1-1", taken[1]);
      } else {
        all();
      }
      Lines twice = lines;
      twice.insert(twice.end(), lines.begin(), lines.end());
      EXPECT_EQ(messages(), twice);
    }
  }
}

// What was acknowledged is there after a kill -9 at any moment, and nothing else comes up.
TEST_F(LogStoreTest, LosesNothingAcknowledgedWhenKilled) {
  SeededRandom random(5);
  std::uint64_t offset = 0;
  for (int round = 0; round < 8; ++round) {
    store_.reset();
    int acknowledged[2];
    ASSERT_EQ(::pipe(acknowledged), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      reopen();
      std::uint64_t at = offset;
      for (;;) {
        Lines lines(1 + at % 3, "line at " + std::to_string(at));
        at = send(at, lines);
        if (::write(acknowledged[1], &at, sizeof(at)) != sizeof(at)) ::_exit(1);
      }
    }
    ::close(acknowledged[1]);
    std::uint64_t last = offset;
    // However slow the disk is, every other round gets somewhere.
    if (round % 2 == 1) {
      EXPECT_EQ(::read(acknowledged[0], &last, sizeof(last)), static_cast<ssize_t>(sizeof(last)));
    }
    ::usleep(static_cast<useconds_t>(5'000 + random.below(30'000)));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    for (std::uint64_t at = 0; ::read(acknowledged[0], &at, sizeof(at)) == sizeof(at);) last = at;
    ::close(acknowledged[0]);
    reopen();
    std::uint64_t kept = 0;
    for (const std::string& line : last > 0 ? messages() : Lines{}) kept += line.size() + 1;
    EXPECT_GE(kept, last);
    if (last > 0) {
      EXPECT_EQ(send(0, {}), kept) << "the position agrees with the lines";
    }
    offset = kept;
  }
  EXPECT_GT(offset, 0u);
}

}  // namespace
}  // namespace athanor::storage
