#include "platform/control/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "platform/control/journal.h"
#include "platform/control/reasons.h"

namespace athanor::control {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

// A machine on a clock of its own, and words for what its agents say. Instances are called by job and host: (1, 1) is
// algo-1 of the first job.
class MachineTest : public testing::Test {
 protected:
  explicit MachineTest() : machine_({{"a", {0}, 1}, {"b", {1}, 1}}) {}

  void apply(const Event& event) {
    Outcome outcome = machine_.apply(event, {1'000'000 + now_ms_, now_ms_});
    machine_.check();
    for (auto& record : outcome.finished) finished_.insert_or_assign(record.job.sequence, record);
    actions_ = std::move(outcome.actions);
    for (const Action& action : actions_) {
      if (const auto* tell = std::get_if<Tell>(&action.what)) told_[tell->instance] = action.sequence;
    }
  }

  void submit(std::int64_t sequence, std::int32_t instances = 1, std::int64_t max_runtime_s = 3600) {
    JobRecord record;
    record.job.name = "job-" + std::to_string(sequence);
    record.job.sequence = sequence;
    record.job.instance_count = instances;
    record.job.max_runtime_s = max_runtime_s;
    record.has_inputs = true;
    apply(Submitted{std::move(record)});
  }

  static std::string id(int job, int host) { return "i" + std::to_string(job) + "-1-" + std::to_string(host); }
  Report report(int job, int host, Phase phase) {
    Report report;
    report.job = "job-" + std::to_string(job);
    report.attempt = 1;
    report.last_sequence = told_[id(job, host)];
    report.phase = phase;
    return report;
  }
  void connect(int job, int host) { apply(Connected{id(job, host), {}}); }
  void says(int job, int host, Phase phase) { apply(Reported{id(job, host), report(job, host, phase)}); }
  void exits(int job, int host, int code, std::string failure = "") {
    Report exited = report(job, host, Phase::kExited);
    exited.exit = Exit{code, std::move(failure), false};
    apply(Reported{id(job, host), exited});
  }
  void gone(int job, int host) { apply(InstanceGone{id(job, host), "its process was killed by signal 9"}); }
  void pass_s(std::int64_t seconds) {
    now_ms_ += seconds * 1000;
    apply(TimePassed{});
  }
  // Up to the program's first instruction.
  void train(int job, int instances) {
    for (int host = 1; host <= instances; ++host) connect(job, host);
    for (int host = 1; host <= instances; ++host) says(job, host, Phase::kPrepared);
    for (int host = 1; host <= instances; ++host) says(job, host, Phase::kRunning);
  }

  const Job& job(std::int64_t sequence) {
    const JobRecord* live = machine_.find(sequence);
    return live != nullptr ? live->job : finished_.at(sequence).job;
  }
  std::vector<std::string> path(std::int64_t sequence) {
    std::vector<std::string> names;
    for (const auto& transition : job(sequence).transitions) names.emplace_back(to_string(transition.status));
    return names;
  }
  // "PREPARE i1-1-1", "LAUNCH 2", "DISCARD i1-1-2", "CLEAN", in order.
  std::vector<std::string> actions() const {
    static constexpr const char* kOrders[] = {"NONE", "PREPARE", "START", "TERMINATE", "STAGE", "PUBLISH", "RELEASE"};
    std::vector<std::string> texts;
    for (const Action& action : actions_) {
      if (const auto* launch = std::get_if<Launch>(&action.what)) {
        texts.push_back("LAUNCH " + std::to_string(launch->instances.size()));
      } else if (const auto* tell = std::get_if<Tell>(&action.what)) {
        texts.push_back(std::string(kOrders[static_cast<int>(tell->order)]) + " " + tell->instance);
      } else if (const auto* discard = std::get_if<Discard>(&action.what)) {
        texts.push_back("DISCARD " + discard->instance);
      } else {
        texts.push_back("CLEAN");
      }
    }
    return texts;
  }

  std::int64_t now_ms_ = 0;
  Machine machine_;
  std::vector<Action> actions_;
  std::map<std::int64_t, JobRecord> finished_;
  std::map<std::string, std::uint64_t> told_;
};

TEST_F(MachineTest, AJobOfOneInstanceRunsToItsEnd) {
  submit(1);
  EXPECT_THAT(actions(), ElementsAre("LAUNCH 1"));
  EXPECT_EQ(job(1).transitions.back().message, "Launching requested ML instances");
  now_ms_ += 100;
  connect(1, 1);
  EXPECT_THAT(actions(), ElementsAre("PREPARE i1-1-1"));
  EXPECT_EQ(job(1).transitions.back().message, "Downloading input data");
  EXPECT_EQ(job(1).training_start_ms, 1'000'100);
  says(1, 1, Phase::kPreparing);
  EXPECT_THAT(actions(), IsEmpty());
  says(1, 1, Phase::kPrepared);
  EXPECT_THAT(actions(), ElementsAre("START i1-1-1"));
  EXPECT_EQ(job(1).transitions.back().message, "Training image download completed. Training in progress.");
  says(1, 1, Phase::kRunning);
  exits(1, 1, 0);
  EXPECT_THAT(actions(), ElementsAre("PUBLISH i1-1-1"));
  EXPECT_EQ(job(1).transitions.back().message, "Uploading generated training model");
  now_ms_ += 2000;
  says(1, 1, Phase::kPublished);
  EXPECT_THAT(actions(), ElementsAre("RELEASE i1-1-1"));
  EXPECT_EQ(job(1).status, Status::kCompleted);
  EXPECT_EQ(job(1).training_end_ms, 1'002'100);
  gone(1, 1);
  EXPECT_THAT(actions(), ElementsAre("CLEAN"));
  EXPECT_EQ(machine_.slots_in_use(), 0U);
  EXPECT_THAT(path(1), ElementsAre("Starting", "Downloading", "Training", "Uploading", "Completed"));
  EXPECT_EQ(job(1).transitions.back().message, "Training job completed");
  for (std::size_t i = 0; i + 1 < job(1).transitions.size(); ++i) {
    EXPECT_EQ(job(1).transitions[i].end_ms, job(1).transitions[i + 1].start_ms);
  }
}

TEST_F(MachineTest, TwoInstancesStartTogetherAndTheFirstMergesWhatTheOtherStaged) {
  submit(1, 2);
  connect(1, 1);
  EXPECT_THAT(actions(), ElementsAre("PREPARE i1-1-1"));
  connect(1, 2);
  says(1, 1, Phase::kPrepared);
  EXPECT_THAT(actions(), IsEmpty()) << "the other is not prepared";
  says(1, 2, Phase::kPrepared);
  EXPECT_THAT(actions(), ElementsAre("START i1-1-1", "START i1-1-2"));
  exits(1, 2, 0);
  EXPECT_THAT(actions(), IsEmpty()) << "the other still runs";
  exits(1, 1, 0);
  EXPECT_THAT(actions(), ElementsAre("STAGE i1-1-2"));
  Report staged = report(1, 2, Phase::kStaged);
  staged.staged_key = "bucket/staged";
  apply(Reported{id(1, 2), staged});
  ASSERT_THAT(actions(), ElementsAre("PUBLISH i1-1-1"));
  EXPECT_THAT(std::get<Tell>(actions_[0].what).staged_keys, ElementsAre("bucket/staged"));
  says(1, 1, Phase::kPublished);
  EXPECT_THAT(actions(), ElementsAre("RELEASE i1-1-1", "RELEASE i1-1-2"));
}

TEST_F(MachineTest, TenJobsWithRoomForTwoRunTwoAtATimeInOrder) {
  for (int i = 1; i <= 10; ++i) submit(i);
  EXPECT_THAT(path(3), ElementsAre("Starting", "Pending"));
  for (int i = 1; i <= 10; ++i) {
    ASSERT_EQ(machine_.find(i)->step, Step::kStarting) << i;
    ASSERT_TRUE(i == 10 || machine_.find(i + 1)->step == Step::kStarting) << i;
    ASSERT_TRUE(i >= 9 || machine_.find(i + 2)->step == Step::kWaiting) << i;
    train(i, 1);
    exits(i, 1, 0);
    says(i, 1, Phase::kPublished);
    ASSERT_TRUE(i >= 9 || machine_.find(i + 2)->step == Step::kWaiting) << "a slot is free once its agent is gone";
    gone(i, 1);
  }
  EXPECT_THAT(path(3),
              ElementsAre("Starting", "Pending", "Starting", "Downloading", "Training", "Uploading", "Completed"));
}

TEST_F(MachineTest, ALargeJobIsNotOvertakenBySmallOnes) {
  submit(1);
  submit(2, 2);
  submit(3);
  EXPECT_EQ(machine_.find(2)->step, Step::kWaiting);
  EXPECT_EQ(machine_.find(3)->step, Step::kWaiting) << "there is a free slot, but job 2 comes first";
  apply(StopRequested{2});
  EXPECT_THAT(path(2), ElementsAre("Starting", "Pending", "Stopping", "Stopped"));
  EXPECT_EQ(machine_.find(3)->step, Step::kStarting);
}

TEST_F(MachineTest, TheFirstFailingInstanceEndsTheOthers) {
  submit(1, 2);
  train(1, 2);
  exits(1, 2, 3, "out of luck");
  EXPECT_THAT(actions(), ElementsAre("TERMINATE i1-1-1"));
  EXPECT_EQ(job(1).status, Status::kInProgress) << "until the others have ended";
  exits(1, 1, 143);
  says(1, 2, Phase::kStaged);
  says(1, 1, Phase::kPublished);
  EXPECT_EQ(job(1).status, Status::kFailed);
  EXPECT_EQ(job(1).failure_reason, "AlgorithmError: out of luck, exit code: 3");
  EXPECT_THAT(path(1), ElementsAre("Starting", "Downloading", "Training", "Uploading", "Failed"));
}

TEST_F(MachineTest, AStopEndsTheProgramAndUploadsWhatItMade) {
  submit(1);
  train(1, 1);
  apply(StopRequested{1});
  ASSERT_THAT(actions(), ElementsAre("TERMINATE i1-1-1"));
  EXPECT_EQ(std::get<Tell>(actions_[0].what).grace_s, 120U);
  EXPECT_EQ(job(1).status, Status::kStopping);
  apply(StopRequested{1});
  EXPECT_THAT(actions(), IsEmpty()) << "it is stopping already";
  exits(1, 1, 0);
  EXPECT_THAT(actions(), ElementsAre("PUBLISH i1-1-1"));
  says(1, 1, Phase::kPublished);
  EXPECT_EQ(job(1).status, Status::kStopped);
  EXPECT_THAT(path(1), ElementsAre("Starting", "Downloading", "Training", "Stopping", "Uploading", "Stopped"));
}

TEST_F(MachineTest, AStopBeforeTheProgramStartedUploadsNothing) {
  submit(1);
  connect(1, 1);
  apply(StopRequested{1});
  EXPECT_THAT(actions(), ElementsAre("TERMINATE i1-1-1"));
  exits(1, 1, 143);
  EXPECT_THAT(actions(), ElementsAre("RELEASE i1-1-1"));
  EXPECT_EQ(job(1).status, Status::kStopped);
}

TEST_F(MachineTest, AStopBeforeTheAgentIsThereDiscardsIt) {
  submit(1);
  apply(StopRequested{1});
  EXPECT_THAT(actions(), ElementsAre("DISCARD i1-1-1"));
  EXPECT_EQ(job(1).status, Status::kStopped);
}

TEST_F(MachineTest, MaxRuntimeCountsFromTheInstancesBeingReady) {
  submit(1, 1, 60);
  now_ms_ += 20'000;
  train(1, 1);
  pass_s(59);
  EXPECT_THAT(actions(), IsEmpty());
  EXPECT_EQ(machine_.next_deadline_ms(), 80'000);
  pass_s(1);
  EXPECT_THAT(actions(), ElementsAre("TERMINATE i1-1-1"));
  exits(1, 1, 137);
  says(1, 1, Phase::kPublished);
  EXPECT_EQ(job(1).status, Status::kStopped);
  EXPECT_EQ(job(1).secondary, SecondaryStatus::kMaxRuntimeExceeded);
  EXPECT_EQ(job(1).failure_reason, "");
}

TEST_F(MachineTest, ALostAgentFailsTheJobWithTheTruth) {
  submit(1, 2);
  train(1, 2);
  gone(1, 2);
  EXPECT_THAT(actions(), ElementsAre("TERMINATE i1-1-1"));
  exits(1, 1, 143);
  EXPECT_EQ(job(1).status, Status::kFailed);
  EXPECT_EQ(job(1).failure_reason,
            "InternalServerError: the agent of algo-2 was lost: its process was killed by signal 9");
  EXPECT_THAT(actions(), ElementsAre("RELEASE i1-1-1")) << "half a model is not uploaded";
}

TEST_F(MachineTest, ABrokenLinkHarmsNothingUnlessItLasts) {
  submit(1);
  train(1, 1);
  apply(Disconnected{id(1, 1)});
  pass_s(14);
  apply(Connected{id(1, 1), report(1, 1, Phase::kRunning)});
  EXPECT_THAT(actions(), IsEmpty());
  pass_s(100);
  EXPECT_EQ(job(1).status, Status::kInProgress);
  apply(Disconnected{id(1, 1)});
  pass_s(15);
  EXPECT_THAT(actions(), ElementsAre("DISCARD i1-1-1"));
  EXPECT_THAT(job(1).failure_reason, HasSubstr("did not reconnect within 15 s"));
  EXPECT_EQ(machine_.slots_in_use(), 1U) << "its process may still run";
  gone(1, 1);
  EXPECT_EQ(machine_.slots_in_use(), 0U);
}

TEST_F(MachineTest, AnOrderThatWasLostWithItsLinkIsRepeatedWithItsNumber) {
  submit(1);
  train(1, 1);
  const Report before = report(1, 1, Phase::kRunning);
  apply(StopRequested{1});
  const std::uint64_t sequence = actions_.at(0).sequence;
  apply(Disconnected{id(1, 1)});
  apply(Connected{id(1, 1), before});
  ASSERT_THAT(actions(), ElementsAre("TERMINATE i1-1-1"));
  EXPECT_EQ(actions_[0].sequence, sequence);
}

TEST_F(MachineTest, AnAgentThatIgnoresATerminateIsEndedByForce) {
  submit(1);
  train(1, 1);
  apply(StopRequested{1});
  pass_s(149);
  EXPECT_THAT(actions(), IsEmpty());
  pass_s(1);
  EXPECT_THAT(actions(), ElementsAre("DISCARD i1-1-1", "RELEASE i1-1-1"));
  EXPECT_EQ(job(1).status, Status::kFailed);
}

TEST_F(MachineTest, AnUploadThatFailsFailsTheJob) {
  submit(1);
  train(1, 1);
  exits(1, 1, 0);
  Report broken = report(1, 1, Phase::kBroken);
  broken.error = "ClientError: the bucket nowhere does not exist";
  apply(Reported{id(1, 1), broken});
  EXPECT_EQ(job(1).status, Status::kFailed);
  EXPECT_EQ(job(1).failure_reason, "ClientError: the bucket nowhere does not exist");
}

TEST_F(MachineTest, ALaunchThatFailsFailsTheJob) {
  submit(1);
  apply(LaunchFailed{1, 1, "InternalServerError: starting athanor-agent: no such file"});
  EXPECT_THAT(actions(), ElementsAre("DISCARD i1-1-1"));
  EXPECT_EQ(job(1).status, Status::kFailed);
  EXPECT_THAT(job(1).failure_reason, StartsWith("InternalServerError: starting"));
  EXPECT_THAT(path(1), ElementsAre("Starting", "Failed"));
}

TEST_F(MachineTest, AfterARestartAgentsAreAwaitedAndWorkGoesOn) {
  submit(1);
  submit(2);
  train(1, 1);
  const Report running = report(1, 1, Phase::kRunning);
  std::vector<JobRecord> stored = {*machine_.find(1), *machine_.find(2)};
  machine_ = Machine({{"a", {0}, 1}, {"b", {1}, 1}}, stored);
  apply(Restarted{});
  ASSERT_THAT(actions(), ElementsAre("LAUNCH 1", "LAUNCH 1"));
  EXPECT_THAT(std::get<Launch>(actions_[0].what).attach_only, ElementsAre(id(1, 1)));
  EXPECT_THAT(std::get<Launch>(actions_[1].what).attach_only, IsEmpty()) << "it may not have been launched";
  apply(Connected{id(1, 1), running});
  EXPECT_THAT(actions(), IsEmpty());
  exits(1, 1, 0);
  EXPECT_THAT(actions(), ElementsAre("PUBLISH i1-1-1"));
}

TEST_F(MachineTest, AfterARestartTimeAlreadyRunCountsTowardsMaxRuntime) {
  submit(1, 1, 60);
  train(1, 1);
  now_ms_ += 50'000;
  std::vector<JobRecord> stored = {*machine_.find(1)};
  machine_ = Machine({{"a", {0}, 1}}, stored);
  apply(Restarted{});
  apply(Connected{id(1, 1), report(1, 1, Phase::kRunning)});
  pass_s(9);
  EXPECT_THAT(actions(), IsEmpty());
  pass_s(1);
  EXPECT_THAT(actions(), ElementsAre("TERMINATE i1-1-1"));
}

TEST_F(MachineTest, AWaitingJobThatCanNeverFitAgainFails) {
  submit(1, 2);
  submit(2, 2);
  std::vector<JobRecord> stored = {*machine_.find(2)};
  machine_ = Machine({{"a", {0}, 1}}, stored);
  apply(Restarted{});
  EXPECT_EQ(job(2).status, Status::kFailed);
  EXPECT_THAT(job(2).failure_reason, StartsWith("CapacityError: "));
}

TEST(Reasons, KeepTheServicesLimitAndTheExitCode) {
  std::string snowmen;
  for (int i = 0; i < 3000; ++i) snowmen += "\xE2\x98\x83";
  const std::string reason = algorithm_error(0, Exit{7, snowmen, false});
  EXPECT_THAT(reason, StartsWith("AlgorithmError: \xE2\x98\x83"));
  EXPECT_THAT(reason, testing::EndsWith("\xE2\x98\x83, exit code: 7"));
  EXPECT_EQ(clip(reason, 1024), reason);
  EXPECT_NE(clip(reason, 1023), reason) << "exactly 1024 characters";
  EXPECT_EQ(algorithm_error(1, Exit{137, "", false}),
            "AlgorithmError: algo-2 failed and wrote no /opt/ml/output/failure, exit code: 137 (signal 9)");
  EXPECT_EQ(clip("a\xFF\xE2\x98", 10), "a???");
  EXPECT_EQ(with_prefix("ClientError: x"), "ClientError: x");
  EXPECT_EQ(with_prefix("x"), "InternalServerError: x");
}

TEST(Journal, HoldsActionsBackAndWithdrawsWhatWasNeverStored) {
  Journal journal(Machine({{"a", {0}, 1}}));
  JobRecord record;
  record.job.name = "one";
  record.job.sequence = 1;
  journal.feed(Submitted{record}, {});
  EXPECT_THAT(journal.ready(), IsEmpty());
  ASSERT_TRUE(journal.next().has_value());
  record.job.name = "two";
  record.job.sequence = 2;
  journal.feed(Submitted{record}, {});
  EXPECT_FALSE(journal.next().has_value()) << "one batch at a time";
  EXPECT_THAT(journal.failed({}), ElementsAre(1));
  EXPECT_EQ(journal.machine().find(1), nullptr);
  const auto batch = journal.next();
  ASSERT_TRUE(batch.has_value());
  ASSERT_EQ(batch->records.size(), 1U);
  EXPECT_EQ(batch->records[0].job.name, "two");
  const auto actions = journal.committed();
  ASSERT_EQ(actions.size(), 1U) << "only the second job's launch";
  EXPECT_EQ(actions[0].job, 2);
}

}  // namespace
}  // namespace athanor::control
