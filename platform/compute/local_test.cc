#include "platform/compute/local.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "common/error.h"
#include "common/files.h"
#include "common/temporary_folder.h"
#include "platform/compute/process.h"

namespace athanor::compute {
namespace {

using testing::HasSubstr;

class ProcessTest : public testing::Test {
 protected:
  Command shell(const std::string& script) {
    return {{"/bin/sh", "-c", script}, {"PATH=/usr/bin:/bin", "GREETING=hello"}, folder_ + "/output", folder_};
  }
  static void wait_end(const Process& process) { ASSERT_TRUE(has_ended(process, 10'000)); }

  SystemFiles files_;
  const TemporaryFolder temporary_;
  const std::string folder_ = temporary_.path();
};

TEST_F(ProcessTest, RunsInASessionOfItsOwnWithNothingOfOurs) {
  setenv("SECRET", "x", 1);
  const Process process =
      start_process(shell("echo $GREETING $SECRET; ls /proc/self/fd | wc -l; ps -o sid= -p $$; exit 3"));
  wait_end(process);
  EXPECT_THAT(end_of(process).how, HasSubstr("ended with status 3"));
  const std::string output = files_.read_all(folder_ + "/output");
  EXPECT_THAT(output, testing::StartsWith("hello\n4\n")) << "descriptors 0, 1, 2 and that of ls";
  EXPECT_THAT(output, HasSubstr(std::to_string(process.pid))) << "its session is its own";
}

TEST_F(ProcessTest, IsFoundAgainAndNotMistaken) {
  EXPECT_FALSE(find_process(folder_).was_started);
  const Process process = start_process(shell("exec sleep 100"));
  const Found found = find_process(folder_);
  ASSERT_TRUE(found.process.has_value());
  EXPECT_EQ(found.process->pid, process.pid);
  EXPECT_THROW(start_process(shell("true")), Error) << "never twice";

  // The same pid with another start time is another process.
  const std::string path = folder_ + "/process";
  std::string stat = files_.read_all(path);
  std::size_t field = stat.rfind(')');
  for (int i = 0; i < 20; ++i) field = stat.find(' ', field + 1);
  stat.insert(field + 1, "9");
  files_.replace(path, stat);
  EXPECT_TRUE(find_process(folder_).was_started);
  EXPECT_FALSE(find_process(folder_).process.has_value());

  EXPECT_TRUE(send_signal(process, SIGKILL));
  wait_end(process);
  EXPECT_THAT(end_of(process).how, HasSubstr("killed by signal 9"));
}

TEST_F(ProcessTest, AProgramThatIsMissingIsTold) {
  Command command = shell("");
  command.arguments[0] = "/nowhere/athanor-agent";
  try {
    start_process(command);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("/nowhere/athanor-agent"));
    EXPECT_THAT(error.what(), HasSubstr("No such file"));
  }
}

// Compute with a shell script as its agent: `network` makes ready.json and waits for SIGTERM, `run` does what
// FOLDER/behaviour says.
class LocalTest : public ProcessTest {
 protected:
  LocalTest() {
    files_.replace(folder_ + "/agent", R"(#!/bin/sh
mode=$1
while [ $# -gt 0 ]; do
  [ "$1" = --state ] && state=$2
  shift
done
if [ "$mode" = network ]; then
  trap 'exit 0' TERM
  echo '{"endpoint": "http://10.0.0.1:9", "instances": [{"address": "10.0.0.2"}]}' > $state/ready.tmp
  mv $state/ready.tmp $state/ready.json
  while :; do sleep 0.02; done
fi
. )" + folder_ + "/behaviour\n",
                   0755);
    behave("exec sleep 100");
    restart();
  }
  ~LocalTest() override {
    compute_->keep_only({}, {});
    compute_.reset();
  }

  void behave(const std::string& script) { files_.replace(folder_ + "/behaviour", script + "\n"); }

  void restart() {
    compute_.reset();
    Events events;
    events.on_gone = [this](std::string instance, std::string why) { told("gone " + instance + ": " + why); };
    events.on_failed = [this](std::int64_t, std::uint32_t, std::string why) { told("failed: " + why); };
    events.on_network = [this](std::int64_t, std::uint32_t, Network network) {
      told("network " + network.endpoint + " " + network.addresses.at(0));
    };
    LocalOptions options;
    options.folder = folder_ + "/instances";
    options.agent_program = folder_ + "/agent";
    options.server = "http://127.0.0.1:9";
    options.server_file = folder_ + "/server";
    options.instances = 2;
    compute_ = make_local(options, events);
  }

  void launch(bool attach_only = false) {
    JobStart start{1, 1, {}};
    start.instances.push_back({"i1-1-1", 0, compute_->slots()[0], "token", attach_only});
    compute_->launch(std::move(start));
  }

  void told(std::string text) {
    const std::lock_guard hold(mutex_);
    told_.push_back(std::move(text));
    wake_.notify_all();
  }
  // The next thing that was told.
  std::string next() {
    std::unique_lock hold(mutex_);
    if (!wake_.wait_for(hold, std::chrono::seconds(10), [this] { return !told_.empty(); })) return "(nothing)";
    std::string text = told_.front();
    told_.erase(told_.begin());
    return text;
  }

  std::mutex mutex_;  // guards told_
  std::condition_variable wake_;
  std::vector<std::string> told_;
  std::unique_ptr<Compute> compute_;
};

TEST_F(LocalTest, AnAgentOutlivesTheServerAndIsFoundAgain) {
  launch();
  EXPECT_EQ(next(), "network http://10.0.0.1:9 10.0.0.2");
  while (!find_process(folder_ + "/instances/i1-1-1").process) usleep(1000);
  restart();
  launch(true);
  EXPECT_EQ(next(), "network http://10.0.0.1:9 10.0.0.2");
  compute_->discard("i1-1-1");
  EXPECT_THAT(next(), HasSubstr("gone i1-1-1: its process"));
  compute_->clean(1, 1, {"i1-1-1"});
  restart();
  EXPECT_TRUE(files_.list(folder_ + "/instances").empty());
}

TEST_F(LocalTest, AnAgentThatDiesIsToldAtOnceWithItsLastWords) {
  behave("echo first; echo last words; exit 4");
  launch();
  std::string text = next();
  if (text.starts_with("network")) text = next();
  EXPECT_THAT(text, HasSubstr("ended with status 4; the last it said: last words"));
}

TEST_F(LocalTest, OnlyWhatMayTellWhyAnAgentEndedIsTold) {
  const std::string log = "2026-01-01T00:00:00.000 ";
  behave("echo '" + log + "error   athanor-agent [node] broken'; echo '" + log +
         "info    athanor-agent [node] /mnt is read-only'; exit 4");
  launch();
  std::string text = next();
  if (text.starts_with("network")) text = next();
  EXPECT_THAT(text, testing::EndsWith("ended with status 4; the last it said: " + log +
                                      "error   athanor-agent [node] broken"));
}

TEST_F(LocalTest, AnAgentThatWasKilledDidNotSayWhy) {
  behave("echo '2026-01-01T00:00:00.000 warning athanor-agent [node] trying again'; kill -9 $$");
  launch();
  std::string text = next();
  if (text.starts_with("network")) text = next();
  EXPECT_THAT(text, testing::EndsWith("was killed by signal 9 (Killed)"));
}

TEST_F(LocalTest, AnAgentThatDiedWhileNobodyLookedIsGone) {
  launch();
  EXPECT_THAT(next(), testing::StartsWith("network"));
  std::optional<Process> agent;
  while (!(agent = std::move(find_process(folder_ + "/instances/i1-1-1").process))) usleep(1000);
  compute_.reset();
  send_signal(*agent, SIGKILL);
  wait_end(*agent);
  restart();
  launch(true);
  std::string text = next();
  if (text.starts_with("network")) text = next();
  EXPECT_THAT(text, HasSubstr("gone i1-1-1"));
}

TEST_F(LocalTest, DiscardingWhatNeverRanIsAnsweredToo) {
  compute_->discard("i9-1-1");
  EXPECT_EQ(next(), "gone i9-1-1: it was not running");
}

// While one exists, this process can open nothing.
class NoDescriptors {
 public:
  NoDescriptors() {
    getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit none{0, before_.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_ = {};
};

TEST_F(LocalTest, WithoutADescriptorNothingIsSaidThatMayNotBeSo) {
  launch();
  EXPECT_THAT(next(), testing::StartsWith("network"));
  while (!find_process(folder_ + "/instances/i1-1-1").process) usleep(1000);
  restart();
  {
    const NoDescriptors shortage;
    EXPECT_THROW(find_process(folder_ + "/instances/i1-1-1"), Error);
    compute_->discard("i1-1-1");
    compute_->keep_only({"i1-1-1"}, {1});
    compute_->clean(2, 1, {});
    usleep(100'000);
  }
  EXPECT_TRUE(find_process(folder_ + "/instances/i1-1-1").process.has_value());
  compute_->discard("i1-1-1");
  EXPECT_THAT(next(), HasSubstr("gone i1-1-1: its process"));
}

TEST_F(LocalTest, ALostNetworkFailsTheJob) {
  launch();
  EXPECT_THAT(next(), testing::StartsWith("network"));
  const Found network = find_process(folder_ + "/instances/n1-1");
  ASSERT_TRUE(network.process.has_value());
  send_signal(*network.process, SIGKILL);
  EXPECT_THAT(next(), HasSubstr("failed: InternalServerError: the job's network was lost"));
}

TEST_F(LocalTest, WhatAnEarlierServerLeftIsEnded) {
  launch();
  EXPECT_THAT(next(), testing::StartsWith("network"));
  while (!find_process(folder_ + "/instances/i1-1-1").process) usleep(1000);
  const Found agent = find_process(folder_ + "/instances/i1-1-1");
  restart();
  compute_->keep_only({}, {});
  wait_end(*agent.process);
  restart();
  EXPECT_TRUE(files_.list(folder_ + "/instances").empty());
}

}  // namespace
}  // namespace athanor::compute
