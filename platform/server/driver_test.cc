// The driver with a real store, and everything around it played: compute, links, agents and the log store.
#include "platform/server/driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "common/error.h"
#include "common/files.h"
#include "common/hash.h"
#include "common/temporary_folder.h"
#include "platform/node/agent.pb.h"
#include "platform/server/control_plane.h"

namespace athanor::server {
namespace {

namespace proto = node::proto;
using testing::HasSubstr;

constexpr auto kPatience = std::chrono::seconds(10);

// Remembers what it was told to do.
class FakeCompute final : public compute::Compute {
 public:
  explicit FakeCompute(compute::Events events) : events(std::move(events)) {}
  std::vector<control::Slot> slots() const override { return {{"a", {0}, 1 << 20}, {"b", {1}, 1 << 20}}; }
  void launch(compute::JobStart start) override {
    const std::lock_guard hold(mutex);
    for (const auto& instance : start.instances) tokens[instance.id] = instance.token;
    compute::Network network{"/net", "http://10.0.0.1:9100", {"10.0.0.2"}};
    events.on_network(start.job, start.attempt, network);
    wake.notify_all();
  }
  void discard(std::string instance) override { events.on_gone(instance, "it was ended"); }
  void clean(std::int64_t, std::uint32_t, std::vector<std::string>) override {}
  void keep_only(std::set<std::string>, std::set<std::int64_t>) override {}

  std::string token(const std::string& instance) {
    std::unique_lock hold(mutex);
    EXPECT_TRUE(wake.wait_for(hold, kPatience, [&] { return tokens.contains(instance); }));
    return tokens[instance];
  }

  const compute::Events events;
  std::mutex mutex;  // guards tokens
  std::condition_variable wake;
  std::map<std::string, std::string> tokens;
};

class FakeLogs final : public storage::Logs {
 public:
  std::uint64_t append(const std::string&, const std::string& stream, const std::string&, std::uint64_t,
                       std::uint64_t source_end, const std::vector<storage::LogEvent>& events) override {
    if (refusals > 0) {
      --refusals;
      throw Error(refused_as, "no space");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const std::lock_guard hold(mutex);
    for (const auto& event : events) lines.push_back(stream + ": " + event.message);
    return source_end;
  }
  bool has_group(const std::string&) const override { return true; }
  std::vector<std::string> groups() const override { return {}; }
  std::vector<storage::LogStream> streams(const std::string&, std::string_view) const override { return {}; }
  std::vector<storage::LogEvent> read(const std::string&, const std::string&, std::uint64_t, std::size_t,
                                      std::size_t) const override {
    return {};
  }
  std::uint64_t seek(const std::string&, const std::string&, std::int64_t) const override { return 0; }

  std::vector<std::string> taken() {
    const std::lock_guard hold(mutex);
    return lines;
  }

  std::atomic<int> refusals = 0;
  std::atomic<ErrorKind> refused_as = ErrorKind::kExhausted;
  std::mutex mutex;  // guards lines
  std::vector<std::string> lines;
};

// The server's end of an agent's link, whose other end is the test.
class FakeLink final : public Link {
 public:
  void send(std::string message) override {
    proto::ToAgent word;
    ASSERT_TRUE(word.ParseFromString(message));
    const std::lock_guard hold(mutex_);
    if (!closed_) words_.push_back(word);
    wake_.notify_all();
  }
  void close() override {
    std::function<void(std::string)> told;
    {
      const std::lock_guard hold(mutex_);
      if (std::exchange(closed_, true)) return;
      told = std::exchange(on_closed, nullptr);
      wake_.notify_all();
    }
    if (told) told("closed");
  }
  // The next word from the server; an empty one when none comes.
  proto::ToAgent next() {
    std::unique_lock hold(mutex_);
    if (!wake_.wait_for(hold, kPatience, [this] { return !words_.empty(); })) return {};
    proto::ToAgent word = words_.front();
    words_.erase(words_.begin());
    return word;
  }
  bool wait_closed() {
    std::unique_lock hold(mutex_);
    return wake_.wait_for(hold, kPatience, [this] { return closed_; });
  }
  bool is_closed() {
    const std::lock_guard hold(mutex_);
    return closed_;
  }
  void say(const proto::FromAgent& word) { on_message(word.SerializeAsString()); }

 private:
  std::mutex mutex_;  // guards all below
  std::condition_variable wake_;
  std::vector<proto::ToAgent> words_;
  bool closed_ = false;
};

class DriverTest : public testing::Test {
 protected:
  DriverTest() { start(); }
  ~DriverTest() override { end(); }

  void start() {
    store_ = store::Store::open(folder_, files_);
    board_ = std::make_unique<JobBoard>();
    keys_ = std::make_unique<KeyStore>();
    pool_ = std::make_unique<boost::asio::thread_pool>(2);
    control_ = std::make_unique<boost::asio::io_context>(1);
    driver_ =
        std::make_unique<Driver>(*control_, clock_, random_, *store_, *board_, *keys_,
                                 DriverOptions{"us-east-1", "000000000000", "CA"}, [this](compute::Events events) {
                                   auto compute = std::make_unique<FakeCompute>(std::move(events));
                                   compute_ = compute.get();
                                   return compute;
                                 });
    driver_->begin(store_->load());
    thread_ = std::thread([this] {
      const auto work = boost::asio::make_work_guard(*control_);
      control_->run();
    });
  }

  // As kill -9 of the server: nothing is told to anybody.
  void end() {
    for (const auto& link : links_) link->close();
    links_.clear();
    pool_->join();
    control_->stop();
    thread_.join();
    std::promise<void> drained;
    store_->save({}, [&drained](std::exception_ptr) { drained.set_value(); });
    drained.get_future().get();
    driver_.reset();
    control_.reset();
    pool_.reset();
    store_.reset();
  }

  // The error's text; empty when it went well.
  std::string outcome(const std::function<void(Driver::Done)>& call) {
    std::promise<std::string> told;
    call([&told](std::exception_ptr error) {
      try {
        if (error) std::rethrow_exception(error);
        told.set_value("");
      } catch (const std::exception& e) {
        told.set_value(e.what());
      }
    });
    return told.get_future().get();
  }

  // What the store is given from now on is not stored before the promise is kept.
  std::shared_ptr<std::promise<void>> hold_store() {
    auto release = std::make_shared<std::promise<void>>();
    std::promise<void> held;
    store_->save({}, [&held, release](std::exception_ptr) {
      held.set_value();
      release->get_future().get();
    });
    held.get_future().get();
    return release;
  }

  static control::JobRecord job_record(const std::string& name, int instances = 1) {
    json::object request = json::parse(R"json({
      "RoleArn": "arn:aws:iam::000000000000:role/own",
      "AlgorithmSpecification": {"TrainingImage": "athanor/script:latest", "TrainingInputMode": "File",
        "ContainerEntrypoint": ["/bin/true"], "MetricDefinitions": [{"Name": "loss", "Regex": "loss=(.*)"}]},
      "HyperParameters": {"steps": "3"}, "Environment": {"A": "b"},
      "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix",
        "S3Uri": "s3://b/data", "S3DataDistributionType": "ShardedByS3Key"}}}],
      "OutputDataConfig": {"S3OutputPath": "s3://b/out/"},
      "CheckpointConfig": {"S3Uri": "s3://b/ck"},
      "ResourceConfig": {"InstanceType": "ml.m5.large", "VolumeSizeInGB": 2},
      "StoppingCondition": {"MaxRuntimeInSeconds": 100}})json",
                                       "request")
                               .as_object();
    request["TrainingJobName"] = name;
    request["ResourceConfig"].as_object()["InstanceCount"] = instances;
    return record_of(name, request, "us-east-1", "000000000000");
  }

  std::string submit(const std::string& name, int instances = 1) {
    return outcome([&](Driver::Done done) { driver_->submit(job_record(name, instances), std::move(done)); });
  }

  std::shared_ptr<FakeLink> connect(const std::string& instance, const std::string& token,
                                    const proto::Report& report = {}, int hello_max_ms = AgentSession::kHelloMax_ms,
                                    int room_max_ms = AgentSession::kRoomMax_ms) {
    auto link = std::make_shared<FakeLink>();
    links_.push_back(link);
    std::make_shared<AgentSession>(link, *pool_, logs_, clock_, driver_->agent_listener(), hello_max_ms, room_max_ms)
        ->begin();
    proto::FromAgent word;
    word.mutable_hello()->set_protocol(1);
    word.mutable_hello()->set_instance(instance);
    word.mutable_hello()->set_token(token);
    *word.mutable_hello()->mutable_report() = report;
    link->say(word);
    return link;
  }

  static proto::Report report(const proto::Action& last, proto::Phase phase) {
    proto::Report report;
    report.set_job(last.job());
    report.set_attempt(last.attempt());
    report.set_last_sequence(last.sequence());
    report.set_phase(phase);
    return report;
  }
  static void say(FakeLink& link, const proto::Report& report) {
    proto::FromAgent word;
    *word.mutable_report() = report;
    link.say(word);
  }

  std::string status(const std::string& name) {
    const auto job = board_->find(name);
    return job == nullptr ? "(none)" : control::to_string(job->secondary);
  }
  bool wait_status(const std::string& name, const std::string& wanted) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (status(name) != wanted && std::chrono::steady_clock::now() < end) usleep(1000);
    return status(name) == wanted;
  }

  SystemClock clock_;
  SystemRandom random_;
  SystemFiles files_;
  FakeLogs logs_;
  const TemporaryFolder temporary_;
  const std::string folder_ = temporary_.path();
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<JobBoard> board_;
  std::unique_ptr<KeyStore> keys_;
  std::unique_ptr<boost::asio::thread_pool> pool_;
  std::unique_ptr<boost::asio::io_context> control_;
  std::unique_ptr<Driver> driver_;
  FakeCompute* compute_ = nullptr;
  std::thread thread_;
  std::vector<std::shared_ptr<FakeLink>> links_;
};

TEST_F(DriverTest, AJobFromItsRequestToItsEnd) {
  EXPECT_EQ(submit("one"), "");
  EXPECT_EQ(status("one"), "Starting") << "readers see what was stored, at once";
  const auto link = connect("i1-1-1", compute_->token("i1-1-1"));
  const proto::Action prepare = link->next().action();
  const proto::JobSpec& spec = prepare.prepare().job();
  EXPECT_EQ(spec.name(), "one");
  EXPECT_EQ(spec.image(), "athanor/script");
  EXPECT_EQ(spec.entrypoint(0), "/bin/true");
  EXPECT_EQ(spec.hyperparameters().at("steps"), "3");
  EXPECT_EQ(spec.environment().at("A"), "b");
  EXPECT_EQ(spec.channels(0).name(), "train");
  EXPECT_EQ(spec.channels(0).s3_uri(), "s3://b/data");
  EXPECT_TRUE(spec.channels(0).sharded());
  EXPECT_EQ(spec.channels(0).input_mode(), "File");
  EXPECT_EQ(spec.checkpoint_path(), "/opt/ml/checkpoints");
  EXPECT_TRUE(spec.compress_output());
  EXPECT_EQ(spec.s3_endpoint(), "http://10.0.0.1:9100");
  EXPECT_EQ(spec.metrics(0).regex(), "loss=(.*)");
  EXPECT_EQ(prepare.prepare().instance().addresses(0), "10.0.0.2");
  const auto key = keys_->find(spec.credentials().access_key_id());
  ASSERT_TRUE(key.has_value());
  EXPECT_EQ(key->session_token, spec.credentials().session_token());
  EXPECT_EQ(key->principal, "arn:aws:sts::000000000000:assumed-role/own/SageMaker");

  say(*link, report(prepare, proto::PREPARED));
  const proto::Action start = link->next().action();
  EXPECT_TRUE(start.has_start());
  EXPECT_GT(start.sequence(), prepare.sequence());
  say(*link, report(start, proto::RUNNING));
  EXPECT_TRUE(wait_status("one", "Training"));

  proto::FromAgent logs;
  logs.mutable_logs()->set_stream("one/algo-1-1");
  logs.mutable_logs()->set_end_offset(6);
  logs.mutable_logs()->add_lines()->set_text("hello");
  link->say(logs);
  proto::FromAgent beat;
  beat.mutable_progress()->set_job("one");
  (*beat.mutable_progress()->mutable_values())["loss"] = 2.5;
  link->say(beat);
  proto::Report exited = report(start, proto::EXITED);
  exited.mutable_exit()->set_code(0);
  auto* metric = exited.add_metrics();
  metric->set_name("loss");
  metric->set_value(1.5);
  say(*link, exited);
  EXPECT_EQ(link->next().logs_acknowledged().offset(), 6U);
  const proto::Action publish = link->next().action();
  EXPECT_TRUE(publish.has_publish());
  EXPECT_THAT(logs_.taken(), testing::ElementsAre("one/algo-1-1: hello")) << "before its end is acted upon";
  EXPECT_EQ(board_->progress("one").at("loss"), 2.5);
  say(*link, report(publish, proto::PUBLISHED));
  EXPECT_TRUE(link->next().action().has_release());
  EXPECT_TRUE(wait_status("one", "Completed"));
  EXPECT_EQ(board_->find("one")->final_metrics.at(0).value, 1.5);
  EXPECT_EQ(board_->find("one")->model_artifacts, "s3://b/out/one/output/model.tar.gz");

  // Removing waits for the agent to be home.
  auto removal = std::async(std::launch::async, [this] {
    return outcome([this](Driver::Done done) { driver_->remove("one", std::move(done)); });
  });
  EXPECT_EQ(removal.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  compute_->events.on_gone("i1-1-1", "it went home");
  EXPECT_EQ(removal.get(), "");
  EXPECT_EQ(status("one"), "(none)");
  EXPECT_FALSE(keys_->find(key->access_key_id).has_value()) << "the role's key ends with the job";
  EXPECT_EQ(submit("one"), "") << "the name is free again";
}

TEST_F(DriverTest, RequestsThatCannotBe) {
  EXPECT_EQ(submit("one"), "");
  EXPECT_THAT(submit("one"), HasSubstr("already exists (arn:aws:sagemaker:us-east-1:000000000000:training-job/one)"));
  EXPECT_THAT(submit("three", 3), HasSubstr("'ml.m5.large for training job usage' is 2 Instances"));
  const auto stop = [&](const std::string& name) {
    return outcome([&](Driver::Done done) { driver_->stop(name, std::move(done)); });
  };
  const auto remove = [&](const std::string& name) {
    return outcome([&](Driver::Done done) { driver_->remove(name, std::move(done)); });
  };
  EXPECT_EQ(stop("none"), "Requested resource not found.");
  EXPECT_EQ(remove("none"), "Requested resource not found.");
  EXPECT_THAT(remove("one"), HasSubstr("in status InProgress"));
  EXPECT_EQ(stop("one"), "");
  EXPECT_TRUE(wait_status("one", "Stopped"));
  EXPECT_THAT(stop("one"), HasSubstr("rejected because the training job is in status Stopped."));
  EXPECT_EQ(remove("one"), "");
}

TEST_F(DriverTest, AJobIsRemovedOnceHoweverManyAsk) {
  EXPECT_EQ(submit("one"), "");
  EXPECT_EQ(outcome([&](Driver::Done done) { driver_->stop("one", std::move(done)); }), "");
  EXPECT_TRUE(wait_status("one", "Stopped"));
  while (driver_->live_jobs() > 0) usleep(1000);
  const auto holding = hold_store();
  std::promise<std::exception_ptr> first, second, submitted;
  std::shared_ptr<std::promise<void>> holding_next;
  driver_->remove("one", [&](std::exception_ptr error) {
    holding_next = hold_store();  // whatever the driver stores next is stored behind the new job's coming
    driver_->submit(job_record("one"), [&](std::exception_ptr failure) { submitted.set_value(failure); });
    driver_->stop("none", [&](std::exception_ptr) { holding_next->set_value(); });
    first.set_value(error);
  });
  driver_->remove("one", [&](std::exception_ptr error) { second.set_value(error); });
  EXPECT_EQ(outcome([&](Driver::Done done) { driver_->stop("none", std::move(done)); }),
            "Requested resource not found.")
      << "both were asked for";
  holding->set_value();
  EXPECT_EQ(first.get_future().get(), nullptr);
  EXPECT_NE(second.get_future().get(), nullptr);
  EXPECT_EQ(submitted.get_future().get(), nullptr);
  EXPECT_THAT(submit("one"), HasSubstr("already exists")) << "the new job has the name";
  EXPECT_EQ(outcome([&](Driver::Done done) { driver_->stop("one", std::move(done)); }), "");
}

TEST_F(DriverTest, AnAgentIsBelievedByItsTokenAlone) {
  EXPECT_EQ(submit("one"), "");
  const std::string token = compute_->token("i1-1-1");
  const auto imposter = connect("i1-1-1", std::string(token.size(), '0'));
  EXPECT_TRUE(imposter->wait_closed());
  EXPECT_TRUE(connect("i9-1-1", token)->wait_closed());
  const auto link = connect("i1-1-1", token);
  EXPECT_TRUE(link->next().action().has_prepare());
  // A later connection of the same agent takes the place of the earlier one.
  const auto second = connect("i1-1-1", token);
  EXPECT_TRUE(link->wait_closed());
  EXPECT_TRUE(second->next().action().has_prepare()) << "what the first may not have heard is repeated";
}

TEST_F(DriverTest, AnAgentMayWriteNoOtherJobsLog) {
  EXPECT_EQ(submit("one"), "");
  const auto link = connect("i1-1-1", compute_->token("i1-1-1"));
  EXPECT_TRUE(link->next().has_action());
  proto::FromAgent logs;
  logs.mutable_logs()->set_stream("two/algo-1-1");
  logs.mutable_logs()->add_lines()->set_text("forged");
  link->say(logs);
  EXPECT_TRUE(link->wait_closed());
  EXPECT_TRUE(logs_.taken().empty());
}

TEST_F(DriverTest, AnAgentsBeatIsOfItsOwnJobWhateverItSays) {
  EXPECT_EQ(submit("one"), "");
  EXPECT_EQ(submit("two"), "");
  const auto link = connect("i1-1-1", compute_->token("i1-1-1"));
  EXPECT_TRUE(link->next().has_action());
  proto::FromAgent beat;
  beat.mutable_progress()->set_job("two");
  (*beat.mutable_progress()->mutable_values())["loss"] = 2.5;
  link->say(beat);
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (board_->progress("one").empty() && std::chrono::steady_clock::now() < end) usleep(1000);
  EXPECT_EQ(board_->progress("one")["loss"], 2.5);
  EXPECT_TRUE(board_->progress("two").empty());
}

TEST_F(DriverTest, RubbishEndsTheLinkAndNothingElse) {
  const auto link = std::make_shared<FakeLink>();
  links_.push_back(link);
  std::make_shared<AgentSession>(link, *pool_, logs_, clock_, driver_->agent_listener())->begin();
  link->on_message("\xFF\xFF rubbish");
  EXPECT_TRUE(link->wait_closed());
  EXPECT_EQ(submit("one"), "");
}

TEST_F(DriverTest, WhoeverSaysNoHelloIsNotKept) {
  EXPECT_EQ(submit("one"), "");
  const auto agent = connect("i1-1-1", compute_->token("i1-1-1"), {}, 500);
  EXPECT_TRUE(agent->next().has_action());
  const auto stranger = std::make_shared<FakeLink>();
  links_.push_back(stranger);
  std::make_shared<AgentSession>(stranger, *pool_, logs_, clock_, driver_->agent_listener(), 500)->begin();
  EXPECT_TRUE(stranger->wait_closed());
  EXPECT_FALSE(agent->is_closed());
}

TEST_F(DriverTest, LogsThatCannotBeStoredWaitAndAreNotAcknowledged) {
  logs_.refusals = 1;
  EXPECT_EQ(submit("one"), "");
  const auto link = connect("i1-1-1", compute_->token("i1-1-1"));
  EXPECT_TRUE(link->next().has_action());
  proto::FromAgent logs;
  logs.mutable_logs()->set_stream("one/algo-1-1");
  logs.mutable_logs()->set_end_offset(3);
  logs.mutable_logs()->add_lines()->set_text("x");
  link->say(logs);
  EXPECT_EQ(link->next().logs_acknowledged().offset(), 3U) << "a second later";
  EXPECT_THAT(logs_.taken(), testing::ElementsAre("one/algo-1-1: x"));
}

TEST_F(DriverTest, LogsThatFindNoRoomForTooLongFailTheInstance) {
  EXPECT_EQ(submit("one"), "");
  const auto link = connect("i1-1-1", compute_->token("i1-1-1"), {}, AgentSession::kHelloMax_ms, 1500);
  const proto::Action prepare = link->next().action();
  say(*link, report(prepare, proto::PREPARED));
  const proto::Action start = link->next().action();
  say(*link, report(start, proto::RUNNING));
  EXPECT_TRUE(wait_status("one", "Training"));
  logs_.refusals = 1000;
  proto::FromAgent logs;
  logs.mutable_logs()->set_stream("one/algo-1-1");
  logs.mutable_logs()->set_end_offset(3);
  logs.mutable_logs()->add_lines()->set_text("x");
  link->say(logs);
  EXPECT_TRUE(wait_status("one", "Failed"));
  EXPECT_EQ(
      board_->find("one")->failure_reason,
      "ClientError: The disk is full: for 1 s there was no room for what the program printed, and the rest of it is "
      "given up. Please make room, or print less: no space");
  EXPECT_TRUE(link->next().action().has_release()) << "nothing was acknowledged";
}

TEST_F(DriverTest, LogsThatCanNeverBeStoredFailTheInstance) {
  logs_.refused_as = ErrorKind::kCorrupt;
  EXPECT_EQ(submit("one"), "");
  const auto link = connect("i1-1-1", compute_->token("i1-1-1"));
  const proto::Action prepare = link->next().action();
  say(*link, report(prepare, proto::PREPARED));
  const proto::Action start = link->next().action();
  say(*link, report(start, proto::RUNNING));
  EXPECT_TRUE(wait_status("one", "Training"));
  logs_.refusals = 1000;
  proto::FromAgent logs;
  logs.mutable_logs()->set_stream("one/algo-1-1");
  logs.mutable_logs()->set_end_offset(3);
  logs.mutable_logs()->add_lines()->set_text("x");
  link->say(logs);
  EXPECT_TRUE(wait_status("one", "Failed"));
  EXPECT_EQ(board_->find("one")->failure_reason,
            "InternalServerError: the logs of one/algo-1-1 cannot be stored: no space");
  EXPECT_EQ(logs_.refusals, 999) << "not tried again";
}

TEST_F(DriverTest, AJobGoesOnAfterTheServerWasKilled) {
  EXPECT_EQ(submit("one"), "");
  EXPECT_EQ(submit("two"), "");
  EXPECT_EQ(submit("three"), "");
  const std::string token = compute_->token("i1-1-1");
  auto link = connect("i1-1-1", token);
  const proto::Action prepare = link->next().action();
  say(*link, report(prepare, proto::PREPARED));
  const proto::Action start_order = link->next().action();
  EXPECT_TRUE(start_order.has_start());
  EXPECT_TRUE(wait_status("one", "Training"));
  end();
  start();
  EXPECT_EQ(status("one"), "Training");
  EXPECT_EQ(status("three"), "Pending");
  EXPECT_EQ(driver_->live_jobs(), 3U);
  proto::Report exited = report(start_order, proto::EXITED);
  exited.mutable_exit()->set_code(5);
  link = connect("i1-1-1", token, exited);
  const proto::Action publish = link->next().action();
  EXPECT_TRUE(publish.has_publish());
  EXPECT_GT(publish.sequence(), start_order.sequence());
  say(*link, report(publish, proto::PUBLISHED));
  EXPECT_TRUE(wait_status("one", "Failed"));
  EXPECT_THAT(board_->find("one")->failure_reason, HasSubstr("exit code: 5"));
  EXPECT_THAT(submit("one"), HasSubstr("already exists")) << "names are known after a restart";
}

TEST_F(DriverTest, DownStopsEveryJobAndTakesNoMore) {
  for (const char* name : {"one", "two", "three"}) EXPECT_EQ(submit(name), "");
  const auto link = connect("i1-1-1", compute_->token("i1-1-1"));
  const proto::Action prepare = link->next().action();
  say(*link, report(prepare, proto::PREPARED));
  EXPECT_TRUE(link->next().action().has_start());
  std::promise<void> ended;
  driver_->end_all(7, [&ended] { ended.set_value(); });
  const proto::Action terminate = link->next().action();
  EXPECT_EQ(terminate.terminate().grace_s(), 7U);
  EXPECT_THAT(submit("four"), HasSubstr("going down"));
  proto::Report exited = report(terminate, proto::EXITED);
  exited.mutable_exit()->set_code(143);
  say(*link, exited);
  const proto::Action publish = link->next().action();
  say(*link, report(publish, proto::PUBLISHED));
  EXPECT_TRUE(link->next().action().has_release());
  compute_->events.on_gone("i1-1-1", "it went home");
  EXPECT_EQ(ended.get_future().wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(status("one"), "Stopped");
  EXPECT_EQ(status("three"), "Stopped");
}

TEST_F(DriverTest, DownEndsWhenTheLastJobCannotBeStored) {
  store::Changes taken;
  taken.jobs = {job_record("one")};
  taken.jobs[0].job.sequence = 100;
  store_->save(std::move(taken), [](std::exception_ptr error) { EXPECT_EQ(error, nullptr); });
  const auto holding = hold_store();
  std::promise<std::exception_ptr> submitted;
  driver_->submit(job_record("one"), [&](std::exception_ptr error) { submitted.set_value(error); });
  std::promise<void> ended;
  driver_->end_all(7, [&ended] { ended.set_value(); });
  EXPECT_THAT(submit("two"), HasSubstr("going down"));
  holding->set_value();
  EXPECT_NE(submitted.get_future().get(), nullptr) << "the store has a job of this name";
  EXPECT_EQ(ended.get_future().wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(driver_->live_jobs(), 0U);
}

}  // namespace
}  // namespace athanor::server
