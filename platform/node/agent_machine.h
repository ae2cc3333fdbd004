// What an agent does about what it hears, as a pure state machine: (state, event, now) → (state, effects). No I/O, no
// clock. agent.cc drives it: the effects are run, then the server is told. The state lives as long as the agent's process,
// which is as long as anything that it could tell of.
//
// An agent serves one attempt of one job. Commands are fenced: one of an older attempt, or numbered at or below the last
// that was begun, changes nothing and is answered with the present state. So a server that forgot may repeat anything.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace athanor::node {

// As in agent.proto, with the same numbers.
enum class Phase {
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
  std::string failure;    // /opt/ml/output/failure, its first 1024 characters
  bool terminated = false;
  bool operator==(const Exit&) const = default;
};

struct FinalMetric {
  std::string name;
  double value = 0;
  std::int64_t timestamp_ms = 0;
  bool operator==(const FinalMetric&) const = default;
};

// What the server is told (agent.proto's Report).
struct Report {
  std::string job;
  std::uint32_t attempt = 0;
  std::uint64_t last_sequence = 0;
  Phase phase = Phase::kIdle;
  std::string detail;
  std::optional<Exit> exit;
  std::string staged_key;
  std::string error;
  std::vector<FinalMetric> metrics;
  bool operator==(const Report&) const = default;
};

struct AgentState {
  Report report;
  bool start_begun = false;                // the program was asked for; it may not be running yet
  bool terminate_begun = false;            // SIGTERM was sent or is due
  std::optional<std::int64_t> kill_at_ms;  // steady clock
  bool releasing = false;
  bool operator==(const AgentState&) const = default;
};

// The server's word.
struct Command {
  enum class Kind { kPrepare, kStart, kTerminate, kStage, kPublish, kRelease };
  std::string job;
  std::uint32_t attempt = 0;
  std::uint64_t sequence = 0;
  Kind kind = Kind::kPrepare;
  std::uint32_t grace_s = 0;             // of kTerminate
  std::vector<std::string> staged_keys;  // of kPublish
};
struct PrepareProgress {
  std::string detail;
};
struct PrepareDone {};
struct ProgramStarted {};
// The program could not be started: it never ran, and it is the user's to put right.
struct ProgramMissing {
  std::string error;
};
struct ProgramExited {
  std::int32_t code = 0;
  std::string failure;
  std::vector<FinalMetric> metrics;
};
struct StageDone {
  std::string staged_key;
};
struct PublishDone {};
// Preparing, staging, publishing or the machine under the program failed; `error` is a FailureReason with its prefix.
struct WorkFailed {
  std::string error;
};
struct TimePassed {};

using Event = std::variant<Command, PrepareProgress, PrepareDone, ProgramStarted, ProgramMissing, ProgramExited,
                           StageDone, PublishDone, WorkFailed, TimePassed>;

enum class Effect {
  kPrepare,    // what the command's Prepare says
  kAbandon,    // stop preparing or uploading; what comes of it is ignored
  kStart,      // run the program
  kTerminate,  // SIGTERM to the program
  kKill,       // SIGKILL to all in the sandbox
  kStage,
  kPublish,  // with the command's staged_keys
  kRelease,  // end all, throw everything away, exit
};

struct Outcome {
  std::vector<Effect> effects;  // in order, before the report
  bool report = false;          // tell the server (also when nothing changed: the answer to a repetition)
};

// Never throws. `now_ms` is of a steady clock.
Outcome apply(AgentState& state, const Event& event, std::int64_t now_ms);

// When TimePassed should come at the latest.
std::optional<std::int64_t> next_deadline_ms(const AgentState& state);

}  // namespace athanor::node
