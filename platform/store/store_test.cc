#include "platform/store/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <future>

#include "common/error.h"
#include "common/files.h"
#include "common/temporary_folder.h"
#include "platform/store/folder_lock.h"
#include "platform/store/sqlite.h"

namespace athanor::store {
namespace {

using testing::HasSubstr;

class StoreTest : public testing::Test {
 protected:
  static void save(Store& store, Changes changes) {
    std::promise<void> done;
    store.save(std::move(changes),
               [&done](std::exception_ptr error) { error ? done.set_exception(error) : done.set_value(); });
    done.get_future().get();
  }

  static control::JobRecord record(std::int64_t sequence, const std::string& name) {
    control::JobRecord record;
    record.job.name = name;
    record.job.sequence = sequence;
    record.job.arn = "arn:aws:sagemaker:us-east-1:000000000000:training-job/" + name;
    record.job.request = R"({"TrainingJobName":")" + name + "\"}";
    record.job.transitions = {
        {control::SecondaryStatus::kStarting, 1000, std::nullopt, "Starting \"it\" \xE2\x98\x83"}};
    return record;
  }

  // What opening says; empty when it opens.
  std::string refusal() {
    try {
      Store::open(folder_, files_);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  const TemporaryFolder temporary_;
  const std::string folder_ = temporary_.path();
  SystemFiles files_;
};

TEST_F(StoreTest, WhatWasSavedIsThereAfterReopening) {
  control::JobRecord full = record(7, "full");
  full.job.instance_count = 2;
  full.job.instance_type = "ml.m5.large";
  full.job.max_runtime_s = 77;
  full.job.status = control::Status::kFailed;
  full.job.secondary = control::SecondaryStatus::kFailed;
  full.job.transitions[0].end_ms = 2000;
  full.job.transitions.push_back({control::SecondaryStatus::kFailed, 2000, 2000, "Training job failed"});
  full.job.failure_reason = "AlgorithmError: x, exit code: 1";
  full.job.model_artifacts = "s3://b/full/output/model.tar.gz";
  full.job.created_ms = 1;
  full.job.modified_ms = 2;
  full.job.training_start_ms = 3;
  full.job.final_metrics = {{"loss", 0.125, 5}};
  full.secret = "s";
  full.has_inputs = true;
  full.attempt = 2;
  full.last_sequence = 9;
  full.step = control::Step::kReleasing;
  full.verdict = control::Verdict::kFailed;
  full.started = true;
  full.artifacts = false;
  control::InstanceRecord instance;
  instance.id = "i7-2-1";
  instance.slot = {"local-1-of-2", {0, 3, 12}, 1ULL << 40};
  instance.order = control::Order::kRelease;
  instance.order_sequence = 8;
  instance.phase = control::Phase::kPublished;
  instance.last_sequence = 7;
  instance.exit = control::Exit{137, "why", true};
  instance.staged_key = "b/k";
  instance.error = "e";
  full.instances = {instance, instance};
  full.instances[1].id = "i7-2-2";
  full.instances[1].index = 1;
  full.instances[1].exit.reset();
  full.instances[1].gone = true;
  full.instances[1].gone_why = "killed";
  {
    const auto store = Store::open(folder_, files_);
    Changes changes;
    changes.jobs = {full};
    changes.keys = {{"AKIA1", "secret", "", "arn:user", 0, 0}, {"ASIA1", "secret", "token", "arn:role", 7, 99}};
    changes.settings["region"] = "us-east-1";
    save(*store, changes);
  }
  const auto store = Store::open(folder_, files_);
  const Contents contents = store->load();
  ASSERT_EQ(contents.jobs.size(), 1U);
  const control::JobRecord& got = contents.jobs[0];
  EXPECT_EQ(got.job.request, full.job.request);
  EXPECT_EQ(got.job.instance_count, 2);
  EXPECT_EQ(got.job.max_runtime_s, 77);
  EXPECT_EQ(got.job.status, control::Status::kFailed);
  ASSERT_EQ(got.job.transitions.size(), 2U);
  EXPECT_EQ(got.job.transitions[0].message, "Starting \"it\" \xE2\x98\x83");
  EXPECT_EQ(got.job.transitions[0].end_ms, 2000);
  EXPECT_EQ(got.job.training_start_ms, 3);
  EXPECT_EQ(got.job.training_end_ms, std::nullopt);
  ASSERT_EQ(got.job.final_metrics.size(), 1U);
  EXPECT_EQ(got.job.final_metrics[0].value, 0.125);
  EXPECT_EQ(got.attempt, 2U);
  EXPECT_EQ(got.step, control::Step::kReleasing);
  EXPECT_FALSE(got.artifacts);
  ASSERT_EQ(got.instances.size(), 2U);
  EXPECT_EQ(got.instances[0].slot.cpus, (std::vector<std::uint32_t>{0, 3, 12}));
  EXPECT_EQ(got.instances[0].slot.memory_bytes, 1ULL << 40);
  ASSERT_TRUE(got.instances[0].exit.has_value());
  EXPECT_EQ(got.instances[0].exit->code, 137);
  EXPECT_FALSE(got.instances[1].exit.has_value());
  EXPECT_EQ(got.instances[1].gone_why, "killed");
  EXPECT_EQ(contents.keys.size(), 2U);
  EXPECT_EQ(contents.settings.at("region"), "us-east-1");
}

TEST_F(StoreTest, APhaseThatIsNotKnownIsReadAsBroken) {
  control::JobRecord job = record(1, "one");
  control::InstanceRecord instance;
  instance.id = "i1-1-1";
  instance.phase = static_cast<control::Phase>(10);
  job.step = control::Step::kTraining;
  job.instances = {instance};
  {
    const auto store = Store::open(folder_, files_);
    Changes changes;
    changes.jobs = {job};
    save(*store, changes);
  }
  const auto store = Store::open(folder_, files_);
  const Contents contents = store->load();
  EXPECT_EQ(contents.jobs.at(0).instances.at(0).phase, control::Phase::kBroken);
  EXPECT_EQ(contents.jobs.at(0).instances.at(0).error,
            "InternalServerError: algo-1 was stored in phase 10, which this version does not know");
}

TEST_F(StoreTest, NumbersOfRemovedJobsAreNotUsedAgain) {
  {
    const auto store = Store::open(folder_, files_);
    Changes changes;
    changes.jobs = {record(1, "one"), record(2, "two")};
    changes.keys = {{"ASIA1", "secret", "token", "arn:role", 2, 99}};
    save(*store, changes);
    Changes removal;
    removal.removed_jobs = {2};
    removal.ended_jobs = {2};
    save(*store, removal);
  }
  const Contents contents = Store::open(folder_, files_)->load();
  EXPECT_EQ(contents.jobs.size(), 1U);
  EXPECT_TRUE(contents.keys.empty());
  EXPECT_EQ(contents.last_sequence, 2);
}

TEST_F(StoreTest, CallsThatShareACommitFailAlone) {
  const auto store = Store::open(folder_, files_);
  std::atomic<int> stored = 0, refused = 0;
  for (std::int64_t i = 1; i <= 200; ++i) {
    Changes changes;
    changes.jobs = {record(i, i % 50 == 0 ? "taken" : "job-" + std::to_string(i))};
    store->save(std::move(changes), [&](std::exception_ptr error) { ++(error ? refused : stored); });
  }
  save(*store, {});
  EXPECT_EQ(stored, 197);
  EXPECT_EQ(refused, 3) << "a name is taken once";
  EXPECT_EQ(store->load().jobs.size(), 197U);
}

TEST_F(StoreTest, ASecondServerOnTheFolderIsRefusedAndTold) {
  const auto store = Store::open(folder_, files_);
  EXPECT_THAT(refusal(), HasSubstr("pid " + std::to_string(getpid())));
  EXPECT_THAT(refusal(), HasSubstr("--data-dir"));
  EXPECT_EQ(holder_of(folder_), getpid());
}

TEST_F(StoreTest, TheLockEndsWithItsHolder) {
  const pid_t child = fork();
  if (child == 0) {
    const FolderLock lock(folder_);
    _exit(holder_of(folder_) == getpid() ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(holder_of(folder_), 0);
  EXPECT_EQ(refusal(), "");
}

TEST_F(StoreTest, ALockOutlivesItsHolderByMomentsInWhatItWasStarting) {
  const pid_t holder = fork();
  if (holder == 0) {
    const FolderLock lock(folder_);
    if (fork() == 0) usleep(200'000);  // with the lock's descriptor, as before an exec
    _exit(0);
  }
  int status = -1;
  waitpid(holder, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(refusal(), "");
}

TEST_F(StoreTest, DataOfANewerVersionIsRefused) {
  Store::open(folder_, files_);
  Database(folder_ + "/athanor.db", Database::Mode::kReadWrite).run("PRAGMA user_version = 999");
  EXPECT_THAT(refusal(), HasSubstr("newer"));
}

TEST_F(StoreTest, ADatabaseOfAnotherProgramIsRefused) {
  Database(folder_ + "/athanor.db", Database::Mode::kReadWrite).run("CREATE TABLE other (x)");
  EXPECT_THAT(refusal(), HasSubstr("another program"));
}

TEST_F(StoreTest, WhatIsNoDatabaseIsRefused) {
  files_.replace(folder_ + "/athanor.db", std::string(8192, 'x'));
  EXPECT_THAT(refusal(), HasSubstr("not a database"));
}

}  // namespace
}  // namespace athanor::store
