// The shipped machine and journal in a simulated world: a virtual clock, agents that work, fail, hang and die, links that
// break and lose what was on its way, a store that is full at times, and a server that crashes at any moment and comes
// back with what was stored. Everything follows from one seed; a failure names it.
//
// What is checked, at every step of every seed:
//   every job ends and every agent goes home; a slot never has two processes; a terminal job never changes; no action
//   runs before its transition is stored; a job is Completed only when its artifacts were published; jobs are launched in
//   the order of their submission.
#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <set>

#include "common/random.h"
#include "platform/control/journal.h"

namespace athanor::control {
namespace {

constexpr std::int64_t kStart_ms = 1'700'000'000'000;
constexpr std::int64_t kFaultsUntil_ms = 400'000;
constexpr std::int64_t kEnd_ms = kUploadMax_ms + 4'000'000;

struct Agent {
  std::string id;
  std::string slot;
  std::string job_name;
  std::uint32_t attempt = 1;
  bool alive = true;
  bool hung = false;  // does nothing any more, but its process is there
  bool connected = false;
  std::uint64_t link = 0;  // number of its present link; messages of older ones are lost
  Report report;
};

class World {
 public:
  explicit World(std::uint64_t seed) : random_(seed) {
    slots_ = {{"a", {0}, 1}, {"b", {1}, 1}, {"c", {2}, 1}};
    slots_.resize(1 + random_.below(3));
    boot();
    const std::uint64_t jobs = 1 + random_.below(8);
    for (std::uint64_t i = 1; i <= jobs; ++i) {
      at(random_.below(60'000), [this, i] { submit(i); });
      if (chance(25)) at(random_.below(120'000), [this, i] { stop(static_cast<std::int64_t>(i)); });
    }
    const std::uint64_t crashes = random_.below(5);
    for (std::uint64_t i = 0; i < crashes; ++i) at(random_.below(kFaultsUntil_ms), [this] { crash(); });
  }

  void run() {
    while (!events_.empty() && now_ms_ < kEnd_ms && !::testing::Test::HasFailure()) {
      Timed next = events_.top();
      events_.pop();
      now_ms_ = next.at_ms;
      next.work();
      if (journal_) {
        journal_->machine().check();
        pump();
      }
    }
    ASSERT_NE(journal_, nullptr);
    EXPECT_TRUE(journal_->machine().jobs().empty()) << "a job never ended";
    for (const auto& [id, agent] : agents_) EXPECT_FALSE(agent.alive) << id << " was never sent home";
    for (const auto& [sequence, record] : disk_) {
      EXPECT_TRUE(is_terminal(record.job.status)) << record.job.name;
      EXPECT_TRUE(record.step == Step::kReleasing);
    }
    EXPECT_EQ(disk_.size() + refused_, submitted_);
  }

  // The ways in which jobs ended, to see that the seeds reach them all.
  void count_ends(std::map<std::string, int>& ends) const {
    for (const auto& [sequence, record] : disk_) {
      std::string end = to_string(record.job.secondary);
      if (record.job.status == Status::kFailed) {
        end += " " + record.job.failure_reason.substr(0, record.job.failure_reason.find(':'));
      }
      ++ends[end];
    }
  }

 private:
  struct Timed {
    std::int64_t at_ms;
    std::uint64_t order;
    std::function<void()> work;
    bool operator<(const Timed& other) const { return std::tie(at_ms, order) > std::tie(other.at_ms, other.order); }
  };

  bool chance(std::uint64_t percent) { return random_.below(100) < percent; }
  bool faulty() const { return now_ms_ < kFaultsUntil_ms; }
  Now now() const { return {kStart_ms + now_ms_, now_ms_ + 77}; }
  void at(std::int64_t at_ms, std::function<void()> work) { events_.push({at_ms, ++order_, std::move(work)}); }
  void after(std::int64_t delay_ms, std::function<void()> work) { at(now_ms_ + delay_ms, std::move(work)); }
  // Only while the server that is up now stays up.
  void after_here(std::int64_t delay_ms, std::function<void()> work) {
    after(delay_ms, [this, epoch = epoch_, work = std::move(work)] {
      if (journal_ && epoch == epoch_) work();
    });
  }
  std::int64_t delay(std::uint64_t max_ms) { return static_cast<std::int64_t>(1 + random_.below(max_ms)); }

  void boot() {
    ++epoch_;
    std::vector<JobRecord> records;
    for (const auto& [sequence, record] : disk_) {
      bool live = !is_terminal(record.job.status);
      for (const auto& instance : record.instances) live = live || !instance.gone;
      if (live) records.push_back(record);
    }
    journal_ = std::make_unique<Journal>(Machine(slots_, std::move(records)));
    feed(Restarted{});
    for (auto& [id, agent] : agents_) reconnect_later(id);
  }

  void crash() {
    if (!journal_) return;
    // The commit that is out may have reached the disk or not.
    if (batch_ && chance(50)) store(*batch_);
    batch_.reset();
    journal_.reset();
    ++epoch_;
    for (auto& [id, agent] : agents_) agent.connected = false;
    after(delay(60'000), [this] { boot(); });
  }

  void feed(const Event& event) {
    if (!journal_) return;
    journal_->feed(event, now());
    const auto deadline = journal_->machine().next_deadline_ms();
    if (deadline && (armed_epoch_ != epoch_ || *deadline != armed_ms_)) {
      armed_ms_ = *deadline;
      armed_epoch_ = epoch_;
      after_here(std::max<std::int64_t>(*deadline - now().steady_ms, 0), [this] {
        armed_ms_ = -1;
        feed(TimePassed{});
      });
    }
  }

  void pump() {
    run(journal_->ready());
    if (batch_) return;
    auto batch = journal_->next();
    if (!batch) return;
    batch_ = std::move(batch);
    after_here(delay(20), [this] {
      const auto done = std::exchange(batch_, std::nullopt);
      if (faulty() && chance(3)) {
        for (const std::int64_t job : journal_->failed(now())) {
          EXPECT_FALSE(disk_.contains(job));
          counted_.insert(job);
          ++refused_;
        }
        return;
      }
      store(*done);
      run(journal_->committed());
    });
  }

  void store(const Journal::Batch& batch) {
    for (const JobRecord& record : batch.records) {
      const auto before = disk_.find(record.job.sequence);
      if (before != disk_.end() && is_terminal(before->second.job.status)) {
        const Job& old = before->second.job;
        EXPECT_EQ(old.status, record.job.status);
        EXPECT_EQ(old.failure_reason, record.job.failure_reason);
        EXPECT_EQ(old.transitions.size(), record.job.transitions.size());
        EXPECT_EQ(old.training_end_ms, record.job.training_end_ms);
      }
      EXPECT_TRUE(record.job.status != Status::kCompleted || published_.contains(record.job.name));
      disk_.insert_or_assign(record.job.sequence, record);
    }
  }

  void run(const std::vector<Action>& actions) {
    for (const Action& action : actions) {
      const auto stored = disk_.find(action.job);
      ASSERT_TRUE(stored != disk_.end()) << "an action of a job that is not stored";
      ASSERT_LE(action.sequence, stored->second.last_sequence) << "an action before its transition was stored";
      if (const auto* launch = std::get_if<Launch>(&action.what)) this->launch(action, *launch);
      if (const auto* tell = std::get_if<Tell>(&action.what)) this->tell(action, *tell);
      if (const auto* discard = std::get_if<Discard>(&action.what)) this->discard(*discard);
    }
  }

  void submit(std::uint64_t number) {
    ++submitted_;
    if (!journal_) {
      ++refused_;
      return;
    }
    JobRecord record;
    record.job.name = "job-" + std::to_string(number);
    record.job.sequence = ++last_sequence_;
    record.job.instance_count = static_cast<std::int32_t>(1 + random_.below(slots_.size()));
    record.job.max_runtime_s = chance(20) ? 1 + static_cast<std::int64_t>(random_.below(30)) : 86400;
    const std::int64_t sequence = record.job.sequence;
    feed(Submitted{std::move(record)});
    // A crash may come before it is stored: then it never was.
    const auto count_lost = [this, sequence, epoch = epoch_] {
      if (epoch != epoch_ && !disk_.contains(sequence) && !counted_.contains(sequence)) {
        counted_.insert(sequence);
        ++refused_;
      }
    };
    after(1000, count_lost);
  }

  void stop(std::int64_t job) { feed(StopRequested{job}); }

  void launch(const Action& action, const Launch& launch) {
    if (launch.attach_only.empty() && !launched_.contains(action.job)) {
      for (const std::int64_t other : launched_) EXPECT_LT(other, action.job) << "a job was overtaken";
      launched_.insert(action.job);
    }
    if (faulty() && chance(3) && launch.attach_only.empty()) {
      after_here(delay(100), [this, action] { feed(LaunchFailed{action.job, action.attempt, "no such program"}); });
      return;
    }
    for (const InstanceRecord& instance : launch.instances) {
      const auto known = agents_.find(instance.id);
      if (known != agents_.end()) {
        if (!known->second.alive) tell_gone(instance.id, delay(50));
        continue;
      }
      if (launch.attach_only.contains(instance.id)) {
        tell_gone(instance.id, delay(50));
        continue;
      }
      for (const auto& [id, other] : agents_) {
        ASSERT_FALSE(other.alive && other.slot == instance.slot.id) << id << " and " << instance.id << " share a slot";
      }
      Agent agent;
      agent.id = instance.id;
      agent.slot = instance.slot.id;
      agent.job_name = disk_.at(action.job).job.name;
      agents_[instance.id] = agent;
      reconnect_later(instance.id);
      if (chance(10)) {
        after(delay(60'000), [this, id = instance.id] {
          if (faulty()) die(id);
        });
      }
      if (chance(5)) {
        after(delay(60'000), [this, id = instance.id] {
          if (faulty()) agents_.at(id).hung = true;
        });
      }
      if (chance(30)) {
        after(delay(60'000), [this, id = instance.id] { break_link(id); });
      }
    }
  }

  void die(const std::string& id) {
    Agent& agent = agents_.at(id);
    if (!agent.alive) return;
    agent.alive = false;
    break_link(id);
    tell_gone(id, delay(20));
  }

  void tell_gone(const std::string& id, std::int64_t delay_ms) {
    after_here(delay_ms, [this, id] { feed(InstanceGone{id, "its process was killed"}); });
  }

  void discard(const Discard& discard) {
    const auto it = agents_.find(discard.instance);
    if (it != agents_.end() && it->second.alive) {
      after(delay(20), [this, id = discard.instance] { die(id); });
    } else {
      if (it == agents_.end()) agents_[discard.instance].alive = false;  // it must not be started later either
      tell_gone(discard.instance, delay(20));
    }
  }

  void reconnect_later(const std::string& id) {
    Agent& agent = agents_.at(id);
    if (!agent.alive || agent.connected) return;
    after_here(delay(chance(5) ? 20'000 : 2'000), [this, id] {
      Agent& agent = agents_.at(id);
      if (!agent.alive || agent.hung || agent.connected) return;
      agent.connected = true;
      ++agent.link;
      feed(Connected{id, agent.report});
    });
  }

  void break_link(const std::string& id) {
    Agent& agent = agents_.at(id);
    if (!agent.connected) return;
    agent.connected = false;
    // A report that the old link still held may come after the new hello.
    if (chance(30)) {
      after_here(delay(3000), [this, id, report = agent.report] { feed(Reported{id, report}); });
    }
    after_here(delay(20), [this, id] {
      if (!agents_.at(id).connected) feed(Disconnected{id});
    });
    reconnect_later(id);
  }

  void tell(const Action& action, const Tell& tell) {
    const auto it = agents_.find(tell.instance);
    if (it == agents_.end() || !it->second.connected) return;
    // In order on one link; lost when it breaks first.
    std::int64_t& busy_until = to_agent_[tell.instance];
    busy_until = std::max(busy_until, now_ms_ + delay(30));
    at(busy_until, [this, action, tell, link = it->second.link] {
      Agent& agent = agents_.at(tell.instance);
      if (!agent.alive || agent.hung || !agent.connected || agent.link != link) return;
      obey(agent, action, tell);
    });
  }

  void obey(Agent& agent, const Action& action, const Tell& tell) {
    if (action.sequence <= agent.report.last_sequence) return report(agent);
    agent.report.job = agent.job_name;
    agent.report.attempt = action.attempt;
    agent.report.last_sequence = action.sequence;
    const std::string id = agent.id;
    switch (tell.order) {
      case Order::kNone: FAIL() << "told to do nothing"; break;
      case Order::kPrepare:
        ASSERT_EQ(agent.report.phase, Phase::kIdle);
        agent.report.phase = Phase::kPreparing;
        work(id, Phase::kPreparing, delay(3000), [this](Agent& a) {
          a.report.phase = chance(5) ? Phase::kBroken : Phase::kPrepared;
          if (a.report.phase == Phase::kBroken) a.report.error = "ClientError: no such data";
        });
        break;
      case Order::kStart:
        ASSERT_EQ(agent.report.phase, Phase::kPrepared);
        agent.report.phase = Phase::kRunning;
        work(id, Phase::kRunning, delay(60'000), [this](Agent& a) {
          a.report.phase = Phase::kExited;
          a.report.exit = Exit{chance(10) ? 1 : 0, "", false};
        });
        break;
      case Order::kTerminate:
        if (agent.report.phase <= Phase::kPrepared) {
          agent.report.phase = Phase::kExited;
          agent.report.exit = Exit{143, "", true};
        } else if (agent.report.phase == Phase::kRunning) {
          work(id, Phase::kRunning, delay(tell.grace_s * 1000), [](Agent& a) {
            a.report.phase = Phase::kExited;
            a.report.exit = Exit{143, "", true};
          });
        }
        break;
      case Order::kStage:
        ASSERT_EQ(agent.report.phase, Phase::kExited);
        agent.report.phase = Phase::kStaging;
        work(id, Phase::kStaging, delay(5000), [](Agent& a) {
          a.report.phase = Phase::kStaged;
          a.report.staged_key = "staged/" + a.id;
        });
        break;
      case Order::kPublish: {
        ASSERT_EQ(agent.report.phase, Phase::kExited);
        const JobRecord& stored = disk_.at(action.job);
        EXPECT_EQ(tell.staged_keys.size() + 1, stored.instances.size());
        agent.report.phase = Phase::kPublishing;
        work(id, Phase::kPublishing, delay(5000), [this](Agent& a) {
          if (chance(5)) {
            a.report.phase = Phase::kBroken;
            a.report.error = "ClientError: no such bucket";
            return;
          }
          a.report.phase = Phase::kPublished;
          published_.insert(a.job_name);
        });
        break;
      }
      case Order::kRelease: return die(id);
    }
    report(agent);
  }

  void work(const std::string& id, Phase during, std::int64_t duration_ms, std::function<void(Agent&)> then) {
    after(duration_ms, [this, id, during, then = std::move(then)] {
      Agent& agent = agents_.at(id);
      if (!agent.alive || agent.hung || agent.report.phase != during) return;
      then(agent);
      report(agent);
    });
  }

  void report(Agent& agent) {
    if (!agent.connected) return;
    std::int64_t& busy_until = to_server_[agent.id];
    busy_until = std::max(busy_until, now_ms_ + delay(30));
    const int copies = chance(10) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
      at(busy_until, [this, id = agent.id, link = agent.link, report = agent.report] {
        const Agent& sender = agents_.at(id);
        if (sender.connected && sender.link == link) feed(Reported{id, report});
      });
    }
  }

  SeededRandom random_;
  std::int64_t now_ms_ = 0;
  std::uint64_t order_ = 0;
  std::priority_queue<Timed> events_;

  std::vector<Slot> slots_;
  std::unique_ptr<Journal> journal_;  // null while the server is down
  std::uint64_t epoch_ = 0;
  std::optional<Journal::Batch> batch_;
  std::int64_t armed_ms_ = -1;
  std::uint64_t armed_epoch_ = 0;
  std::map<std::int64_t, JobRecord> disk_;
  std::int64_t last_sequence_ = 0;
  std::size_t submitted_ = 0;
  std::size_t refused_ = 0;
  std::set<std::int64_t> counted_;
  std::set<std::int64_t> launched_;

  std::map<std::string, Agent> agents_;
  std::map<std::string, std::int64_t> to_agent_, to_server_;  // when the last message on the way arrives
  std::set<std::string> published_;
};

// ATHANOR_SEEDS widens the search; ATHANOR_SEED replays one.
TEST(MachineSimulator, EveryJobEndsWhateverHappens) {
  const char* one = std::getenv("ATHANOR_SEED");
  const char* many = std::getenv("ATHANOR_SEEDS");
  const std::uint64_t first = one != nullptr ? std::strtoull(one, nullptr, 10) : 1;
  const std::uint64_t count = one != nullptr ? 1 : many != nullptr ? std::strtoull(many, nullptr, 10) : 5000;
  std::map<std::string, int> ends;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(testing::Message() << "ATHANOR_SEED=" << seed);
    World world(seed);
    world.run();
    if (HasFailure()) return;
    world.count_ends(ends);
  }
  for (const auto& [end, count] : ends) RecordProperty(end, count);
  if (count < 1000) return;
  for (const char* end : {"Completed", "Stopped", "MaxRuntimeExceeded", "Failed AlgorithmError", "Failed ClientError",
                          "Failed InternalServerError"}) {
    EXPECT_GT(ends[end], 100) << end;
  }
}

}  // namespace
}  // namespace athanor::control
