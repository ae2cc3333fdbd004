// What control keeps of a job that is not over yet: the job that people see, the instances it runs on, and what was
// last ordered of each and last heard from it. Plain data, saved whole by platform/store at every transition; what a
// restart makes meaningless (connections, deadlines) stands apart, in machine.h.
//
// The agents' words (platform/node/agent.proto) are mirrored here as plain structs, so that control needs no protobuf.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "platform/control/job.h"

namespace athanor::control {

// How far an agent is, in the only order in which it can get there.
enum class Phase : std::int32_t {
  kIdle = 0,
  kPreparing = 1,
  kPrepared = 2,
  kRunning = 3,
  kExited = 4,
  kStaging = 5,
  kStaged = 6,
  kPublishing = 7,
  kPublished = 8,
  kBroken = 9,
};

struct Exit {
  std::int32_t code = 0;  // exit status, or 128 + signal
  std::string failure;    // first 1024 characters of /opt/ml/output/failure
  bool terminated = false;
};

// The whole state of an agent, as it tells it on every change and on connecting.
struct Report {
  std::string job;
  std::uint32_t attempt = 0;
  std::uint64_t last_sequence = 0;
  Phase phase = Phase::kIdle;
  std::string detail;
  std::optional<Exit> exit;
  std::string staged_key;
  std::string error;
  std::vector<Metric> metrics;
};

// What an agent can be told to do; the latest order supersedes those before it.
enum class Order : std::int32_t {
  kNone = 0,
  kPrepare = 1,
  kStart = 2,
  kTerminate = 3,
  kStage = 4,
  kPublish = 5,
  kRelease = 6,
};

// A share of a machine that runs one instance at a time: which processors, how much memory.
struct Slot {
  std::string id;
  std::vector<std::uint32_t> cpus;
  std::uint64_t memory_bytes = 0;
};

struct InstanceRecord {
  std::string id;           // never used twice; a folder name
  std::uint32_t index = 0;  // host algo-(index+1)
  Slot slot;

  Order order = Order::kNone;
  std::uint64_t order_sequence = 0;

  Phase phase = Phase::kIdle;
  std::uint64_t last_sequence = 0;
  std::optional<Exit> exit;
  std::string staged_key;
  std::string error;
  bool gone = false;  // its process has ended and its slot is free
  std::string gone_why;
};

// Where a job is, in finer steps than SecondaryStatus tells.
enum class Step : std::int32_t {
  kWaiting = 0,     // for free slots
  kStarting = 1,    // agents being launched, instances being prepared
  kTraining = 2,    // programs running
  kEnding = 3,      // the verdict is known; programs being ended
  kStaging = 4,     // instances uploading their parts
  kPublishing = 5,  // the first instance uploading the whole
  kReleasing = 6,   // the job is over; its agents are being sent home
};

// How the job will end.
enum class Verdict : std::int32_t { kNone = 0, kCompleted = 1, kStopped = 2, kMaxRuntime = 3, kFailed = 4 };

struct JobRecord {
  Job job;
  std::string secret;       // what its agents' tokens are made from
  bool has_inputs = false;  // for the wording of Downloading
  std::uint32_t attempt = 1;
  std::uint64_t last_sequence = 0;  // of the actions of this attempt
  Step step = Step::kWaiting;
  Verdict verdict = Verdict::kNone;
  bool started = false;   // programs were ordered to start: there may be something to upload
  bool artifacts = true;  // what was made shall be uploaded, once the programs have ended
  std::vector<InstanceRecord> instances;
};

// Nothing is left to be done for it: its end is known and its agents are gone.
inline bool is_over(const JobRecord& record) {
  return is_terminal(record.job.status) &&
         std::all_of(record.instances.begin(), record.instances.end(), [](const InstanceRecord& i) { return i.gone; });
}

}  // namespace athanor::control
