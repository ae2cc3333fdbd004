// The life of training jobs as a pure state machine: (state, event, now) → (state, actions). No I/O, no clock, no
// threads, no randomness; the driver in platform/server and the simulator in machine_simulator_test.cc run the same code.
//
//   waiting → starting → training → ending → staging → publishing → releasing → (forgotten)
//
// Every step is decided by level, not by edge: after any event the job is looked at as it stands, so an event that is
// repeated, late or out of order does no harm. What is heard from an agent only ever moves it forward.
//
// The driver's duty: what apply() changed is stored before any of the actions that it returned is run (journal.h does
// that). After a restart it loads the records, applies Restarted, and runs the actions again: every action carries
// (job, attempt, sequence), is idempotent, and is refused by agents that have seen a later one.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "platform/control/record.h"

namespace athanor::control {

// Bounds on waiting, in milliseconds of the steady clock.
inline constexpr std::int64_t kConnectMax_ms = 30'000;      // from launch to an agent's first word
inline constexpr std::int64_t kReconnectMax_ms = 15'000;    // from a broken link to a new one
inline constexpr std::int64_t kTerminateGrace_s = 120;      // SIGTERM to SIGKILL, as the service has it
inline constexpr std::int64_t kTerminateSlack_ms = 30'000;  // what an agent may take beyond that
inline constexpr std::int64_t kUploadMax_ms = 24 * 3600'000;
inline constexpr std::int64_t kReleaseMax_ms = 10'000;

struct Now {
  std::int64_t wall_ms = 0;    // for people; may step
  std::int64_t steady_ms = 0;  // for waiting; never steps back
};

// A new job: a record with `job` (name, arn, request, sequence, counts…), `secret` and `has_inputs` filled in.
// `job.sequence` must be above all that came before.
struct Submitted {
  JobRecord record;
};
// The submission could not be stored: as if it had never been. Only for jobs whose Submitted has not been stored.
struct Withdrawn {
  std::int64_t job = 0;
};
struct StopRequested {
  std::int64_t job = 0;
  std::int64_t grace_s = kTerminateGrace_s;
};
struct Connected {
  std::string instance;
  Report report;
};
struct Reported {
  std::string instance;
  Report report;
};
struct Disconnected {
  std::string instance;
};
// The instance's process has ended, or never was and never will be.
struct InstanceGone {
  std::string instance;
  std::string why;
};
struct LaunchFailed {
  std::int64_t job = 0;
  std::uint32_t attempt = 0;
  std::string why;
};
// First after loading: every live job is taken up where its record stands.
struct Restarted {};
struct TimePassed {};

using Event = std::variant<Submitted, Withdrawn, StopRequested, Connected, Reported, Disconnected, InstanceGone,
                           LaunchFailed, Restarted, TimePassed>;

// Start the agents of a job and what joins them. Idempotent: an agent that was started before is watched instead. An
// instance in `attach_only` must have been started before; if it is not there, it is gone.
struct Launch {
  std::vector<InstanceRecord> instances;
  std::set<std::string> attach_only;
};
// Send an order to an agent. Dropped when it is not connected: it is repeated when it connects.
struct Tell {
  std::string instance;
  Order order = Order::kNone;
  std::uint32_t grace_s = 0;             // of kTerminate
  std::vector<std::string> staged_keys;  // of kPublish
};
// End the agent by force, with all that it started. Answered by InstanceGone, also when there is nothing to end.
struct Discard {
  std::string instance;
};
// No agent of the job is left: remove its network and folders.
struct Clean {
  std::vector<std::string> instances;
};

struct Action {
  std::int64_t job = 0;
  std::uint32_t attempt = 0;
  std::uint64_t sequence = 0;
  std::variant<Launch, Tell, Discard, Clean> what;
};

struct Outcome {
  std::set<std::int64_t> changed;   // live jobs whose record must be stored
  std::vector<JobRecord> finished;  // jobs that are over and hold no instances: to be stored; control has dropped them
  std::vector<Action> actions;      // to be run, in order, once that is stored
};

class Machine {
 public:
  // `slots`: what there is to run instances on. `records`: the live jobs, as stored; follow up with Restarted.
  explicit Machine(std::vector<Slot> slots, std::vector<JobRecord> records = {});

  // Throws nothing; unknown jobs and instances are ignored. O(log jobs) for one job's event; TimePassed looks at every
  // instance that is held, Restarted at every live job. While jobs wait, an event that may let one begin also compares
  // every slot with the instances of each held one's job: slots × held × the largest job, whose product is small on one
  // machine.
  Outcome apply(const Event& event, Now now);

  // When TimePassed should come at the latest (steady clock), if ever. O(instances held).
  std::optional<std::int64_t> next_deadline_ms() const;

  // The live job, or null.
  const JobRecord* find(std::int64_t job) const;
  // The live job that owns the instance, or null.
  const JobRecord* find_by_instance(std::string_view instance) const;
  const std::map<std::int64_t, JobRecord>& jobs() const { return jobs_; }
  std::size_t slots() const { return slots_.size(); }
  std::size_t slots_in_use() const { return owners_.size(); }

  // What must always hold; ATHANOR_ASSERTs it. O(live jobs); apply() checks the job that it touched.
  void check() const;

 private:
  // What a restart forgets.
  struct Watch {
    bool connected = false;
    bool discarded = false;
    std::optional<std::int64_t> link_deadline_ms;   // to connect, again or at all
    std::optional<std::int64_t> order_deadline_ms;  // to carry out the order
  };
  struct Volatile {
    std::optional<std::int64_t> max_runtime_deadline_ms;
    std::int64_t grace_s = kTerminateGrace_s;
    std::map<std::string, Watch> watches;  // by instance
  };
  struct Turn {
    Now now;
    Outcome outcome;
  };

  void on(Turn& turn, const Submitted& event);
  void on(Turn& turn, const Withdrawn& event);
  void on(Turn& turn, const StopRequested& event);
  void on(Turn& turn, const Connected& event);
  void on(Turn& turn, const Reported& event);
  void on(Turn& turn, const Disconnected& event);
  void on(Turn& turn, const InstanceGone& event);
  void on(Turn& turn, const LaunchFailed& event);
  void on(Turn& turn, const Restarted& event);
  void on(Turn& turn, const TimePassed& event);

  void schedule(Turn& turn);
  void start(Turn& turn, JobRecord& record, const std::vector<const Slot*>& slots);
  bool is_free(const Slot& slot) const;

  // machine_progress.cc
  void advance(Turn& turn, std::int64_t job);
  void advance_starting(Turn& turn, JobRecord& record);
  void advance_training(Turn& turn, JobRecord& record);
  void advance_ending(Turn& turn, JobRecord& record);
  void advance_staging(Turn& turn, JobRecord& record);
  void advance_publishing(Turn& turn, JobRecord& record);
  void advance_releasing(Turn& turn, JobRecord& record);
  void upload_failed(Turn& turn, JobRecord& record, const InstanceRecord& instance);
  void decide(Turn& turn, JobRecord& record, Verdict verdict, std::string reason);
  void finish(Turn& turn, JobRecord& record);

  // Nothing of the job's program runs there, and nothing will.
  static bool is_settled(const InstanceRecord& instance);
  void hear(Turn& turn, JobRecord& record, InstanceRecord& instance, const Report& report);
  void lose(Turn& turn, JobRecord& record, InstanceRecord& instance, const std::string& why);
  void give(Turn& turn, JobRecord& record, InstanceRecord& instance, Order order);
  void arm(Turn& turn, JobRecord& record, const InstanceRecord& instance);
  void tell(Turn& turn, JobRecord& record, const InstanceRecord& instance);
  void discard(Turn& turn, JobRecord& record, const InstanceRecord& instance);
  Watch& watch(const JobRecord& record, const InstanceRecord& instance);
  std::pair<JobRecord*, InstanceRecord*> locate(const std::string& instance);

  std::vector<Slot> slots_;
  std::map<std::int64_t, JobRecord> jobs_;
  std::set<std::int64_t> waiting_;                        // jobs in step kWaiting, in order
  std::unordered_map<std::string, std::int64_t> owners_;  // instance → job
  std::map<std::int64_t, Volatile> volatile_;             // of jobs that are past kWaiting
};

}  // namespace athanor::control
