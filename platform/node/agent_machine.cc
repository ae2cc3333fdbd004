#include "platform/node/agent_machine.h"

#include <algorithm>
#include <utility>

#include "common/error.h"

namespace athanor::node {

namespace {

struct Turn {
  AgentState& state;
  Report& report;
  std::int64_t now_ms;
  Outcome& outcome;

  void effect(Effect effect) const { outcome.effects.push_back(effect); }
};

bool in_program(const AgentState& state) {
  return state.report.phase == Phase::kRunning || (state.report.phase == Phase::kPrepared && state.start_begun);
}

bool is_working(Phase phase) {
  return phase == Phase::kPreparing || phase == Phase::kStaging || phase == Phase::kPublishing;
}

void finish_program(const Turn& turn, Exit exit) {
  turn.report.phase = Phase::kExited;
  turn.report.detail.clear();
  turn.report.exit = std::move(exit);
  turn.state.kill_at_ms.reset();
}

void fail(const Turn& turn, std::string error) {
  if (turn.report.phase == Phase::kBroken) return;
  if (is_working(turn.report.phase)) turn.effect(Effect::kAbandon);
  turn.effect(Effect::kKill);
  turn.report.phase = Phase::kBroken;
  turn.report.detail.clear();
  turn.report.error = std::move(error);
  turn.state.kill_at_ms.reset();
}

void terminate(const Turn& turn, std::uint32_t grace_s) {
  if (turn.report.phase == Phase::kPreparing) turn.effect(Effect::kAbandon);
  if (!in_program(turn.state)) {
    if (turn.report.phase <= Phase::kPrepared) finish_program(turn, Exit{.code = 143, .terminated = true});
    return;
  }
  const std::int64_t kill_at_ms = turn.now_ms + std::int64_t{grace_s} * 1000;
  turn.state.kill_at_ms = std::min(turn.state.kill_at_ms.value_or(kill_at_ms), kill_at_ms);
  if (!turn.state.terminate_begun && turn.report.phase == Phase::kRunning) turn.effect(Effect::kTerminate);
  turn.state.terminate_begun = true;
}

void release(const Turn& turn) {
  if (turn.state.releasing) return;
  turn.state.releasing = true;
  turn.state.kill_at_ms.reset();
  turn.effect(Effect::kRelease);
}

// A command out of its place is a mistake of the server's, which the report of the present state corrects.
void obey(const Turn& turn, const Command& command) {
  const Phase phase = turn.report.phase;
  switch (command.kind) {
    case Command::Kind::kPrepare:
      if (phase != Phase::kIdle) return;
      turn.report.phase = Phase::kPreparing;
      turn.effect(Effect::kPrepare);
      return;
    case Command::Kind::kStart:
      if (phase != Phase::kPrepared || turn.state.start_begun) return;
      turn.state.start_begun = true;
      turn.effect(Effect::kStart);
      return;
    case Command::Kind::kTerminate: return terminate(turn, command.grace_s);
    case Command::Kind::kStage:
      if (phase != Phase::kExited) return;
      turn.report.phase = Phase::kStaging;
      turn.effect(Effect::kStage);
      return;
    case Command::Kind::kPublish:
      if (phase != Phase::kExited && phase != Phase::kStaged) return;
      turn.report.phase = Phase::kPublishing;
      turn.effect(Effect::kPublish);
      return;
    case Command::Kind::kRelease: return release(turn);
  }
}

void on(const Turn& turn, const Command& command) {
  turn.outcome.report = true;
  Report& report = turn.report;
  if (report.attempt != 0) {
    if (command.job != report.job || command.attempt < report.attempt) return;
    if (command.attempt == report.attempt && command.sequence <= report.last_sequence) return;
    if (command.attempt > report.attempt) {
      report.attempt = command.attempt;
      report.last_sequence = command.sequence;
      if (command.kind == Command::Kind::kRelease) return release(turn);
      return fail(turn, "InternalServerError: the instance served an earlier attempt and cannot serve another");
    }
  }
  report.job = command.job;
  report.attempt = command.attempt;
  report.last_sequence = command.sequence;
  obey(turn, command);
}

void on(const Turn& turn, const PrepareProgress& event) {
  if (turn.report.phase == Phase::kPreparing) turn.report.detail = event.detail;
}

void on(const Turn& turn, const PrepareDone&) {
  if (turn.report.phase != Phase::kPreparing) return;
  turn.report.phase = Phase::kPrepared;
  turn.report.detail.clear();
}

void on(const Turn& turn, const ProgramStarted&) {
  if (turn.report.phase != Phase::kPrepared || !turn.state.start_begun) return;
  turn.report.phase = Phase::kRunning;
  if (turn.state.terminate_begun) turn.effect(Effect::kTerminate);
}

void on(const Turn& turn, const ProgramMissing& event) {
  if (in_program(turn.state)) fail(turn, event.error);
}

void on(const Turn& turn, const ProgramExited& event) {
  if (!in_program(turn.state)) return;
  turn.report.metrics = event.metrics;
  finish_program(turn, Exit{.code = event.code, .failure = event.failure, .terminated = turn.state.terminate_begun});
}

void on(const Turn& turn, const StageDone& event) {
  if (turn.report.phase != Phase::kStaging) return;
  turn.report.phase = Phase::kStaged;
  turn.report.staged_key = event.staged_key;
}

void on(const Turn& turn, const PublishDone&) {
  if (turn.report.phase == Phase::kPublishing) turn.report.phase = Phase::kPublished;
}

void on(const Turn& turn, const WorkFailed& event) {
  // Once the program has ended and nothing is being uploaded, there is no work left that could fail.
  if (is_working(turn.report.phase) || turn.report.phase <= Phase::kRunning) fail(turn, event.error);
}

void on(const Turn& turn, const TimePassed&) {
  if (!turn.state.kill_at_ms || turn.now_ms < *turn.state.kill_at_ms) return;
  turn.state.kill_at_ms.reset();
  turn.effect(Effect::kKill);
}

}  // namespace

Outcome apply(AgentState& state, const Event& event, std::int64_t now_ms) {
  Outcome outcome;
  const AgentState before = state;
  const Turn turn{state, state.report, now_ms, outcome};
  std::visit([&](const auto& what) { on(turn, what); }, event);
  outcome.report = outcome.report || state.report != before.report;
  ATHANOR_ASSERT(state.report.phase >= before.report.phase);
  ATHANOR_ASSERT(state != before || outcome.effects.empty());
  return outcome;
}

std::optional<std::int64_t> next_deadline_ms(const AgentState& state) { return state.kill_at_ms; }

}  // namespace athanor::node
