#include "platform/node/agent_machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/random.h"

namespace athanor::node {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Kind = Command::Kind;

// A machine with a hand on its clock.
struct Bench {
  AgentState state;
  std::int64_t now_ms = 1000;
  std::uint64_t sequence = 0;
  bool changed = false;  // by the last event

  Outcome tell(Kind kind, std::uint32_t grace_s = 120) { return on(Command{"job", 1, ++sequence, kind, grace_s, {}}); }
  Outcome on(const Event& event) {
    const AgentState before = state;
    const Outcome outcome = apply(state, event, now_ms);
    changed = state != before;
    return outcome;
  }
  Phase phase() const { return state.report.phase; }

  void prepare() {
    tell(Kind::kPrepare);
    on(PrepareDone{});
  }
  void run() {
    prepare();
    tell(Kind::kStart);
    on(ProgramStarted{});
  }
  void exit(int code) {
    run();
    on(ProgramExited{code, "", {}});
  }
};

TEST(AgentMachine, AJobFromPrepareToRelease) {
  Bench bench;
  EXPECT_THAT(bench.tell(Kind::kPrepare).effects, ElementsAre(Effect::kPrepare));
  EXPECT_EQ(bench.phase(), Phase::kPreparing);
  bench.on(PrepareProgress{"downloading"});
  EXPECT_EQ(bench.state.report.detail, "downloading");
  bench.on(PrepareDone{});
  EXPECT_EQ(bench.phase(), Phase::kPrepared);
  EXPECT_EQ(bench.state.report.detail, "");
  EXPECT_THAT(bench.tell(Kind::kStart).effects, ElementsAre(Effect::kStart));
  EXPECT_EQ(bench.phase(), Phase::kPrepared) << "RUNNING is said when the program runs, not before";
  bench.on(ProgramStarted{});
  EXPECT_EQ(bench.phase(), Phase::kRunning);
  bench.on(ProgramExited{3, "why", {{"loss", 0.5, 7}}});
  EXPECT_EQ(bench.phase(), Phase::kExited);
  EXPECT_EQ(bench.state.report.exit, (Exit{3, "why", false}));
  EXPECT_THAT(bench.state.report.metrics, ElementsAre(FinalMetric{"loss", 0.5, 7}));
  EXPECT_THAT(bench.tell(Kind::kStage).effects, ElementsAre(Effect::kStage));
  bench.on(StageDone{"s3://b/staged"});
  EXPECT_EQ(bench.phase(), Phase::kStaged);
  EXPECT_THAT(bench.tell(Kind::kPublish).effects, ElementsAre(Effect::kPublish));
  bench.on(PublishDone{});
  EXPECT_EQ(bench.phase(), Phase::kPublished);
  EXPECT_THAT(bench.tell(Kind::kRelease).effects, ElementsAre(Effect::kRelease));
}

TEST(AgentMachine, ARepeatedCommandChangesNothingAndIsAnswered) {
  Bench bench;
  bench.run();
  for (std::uint64_t sequence = 1; sequence <= bench.sequence; ++sequence) {
    for (const Kind kind : {Kind::kPrepare, Kind::kStart, Kind::kTerminate, Kind::kRelease}) {
      const Outcome outcome = bench.on(Command{"job", 1, sequence, kind, 0, {}});
      EXPECT_FALSE(bench.changed);
      EXPECT_TRUE(outcome.report);
      EXPECT_THAT(outcome.effects, IsEmpty());
    }
  }
}

TEST(AgentMachine, AnOlderAttemptAndAnotherJobAreRefused) {
  Bench bench;
  bench.on(Command{"job", 2, 1, Kind::kPrepare, 0, {}});
  for (const Command& stale :
       {Command{"job", 1, 99, Kind::kRelease, 0, {}}, Command{"other", 2, 99, Kind::kRelease, 0, {}}}) {
    const Outcome outcome = bench.on(stale);
    EXPECT_FALSE(bench.changed);
    EXPECT_TRUE(outcome.report);
  }
  EXPECT_EQ(bench.state.report.attempt, 2u);
}

TEST(AgentMachine, ANewerAttemptNeedsANewAgent) {
  Bench bench;
  bench.run();
  const Outcome outcome = bench.on(Command{"job", 2, 1, Kind::kPrepare, 0, {}});
  EXPECT_THAT(outcome.effects, ElementsAre(Effect::kKill));
  EXPECT_EQ(bench.phase(), Phase::kBroken);
  EXPECT_EQ(bench.state.report.attempt, 2u);
  EXPECT_THAT(bench.on(Command{"job", 2, 2, Kind::kRelease, 0, {}}).effects, ElementsAre(Effect::kRelease));
}

TEST(AgentMachine, TerminateSendsTheSignalAndKillsAfterTheGrace) {
  Bench bench;
  bench.run();
  EXPECT_THAT(bench.tell(Kind::kTerminate, 120).effects, ElementsAre(Effect::kTerminate));
  EXPECT_EQ(next_deadline_ms(bench.state), 1000 + 120'000);
  bench.now_ms = 1000 + 119'999;
  EXPECT_THAT(bench.on(TimePassed{}).effects, IsEmpty());
  bench.now_ms = 1000 + 120'000;
  EXPECT_THAT(bench.on(TimePassed{}).effects, ElementsAre(Effect::kKill));
  EXPECT_FALSE(next_deadline_ms(bench.state));
  bench.on(ProgramExited{137, "", {}});
  EXPECT_EQ(bench.state.report.exit, (Exit{137, "", true}));
}

TEST(AgentMachine, ASecondTerminateShortensTheGraceOnly) {
  Bench bench;
  bench.run();
  bench.tell(Kind::kTerminate, 120);
  EXPECT_THAT(bench.tell(Kind::kTerminate, 5).effects, IsEmpty());
  EXPECT_EQ(next_deadline_ms(bench.state), 6000);
  bench.tell(Kind::kTerminate, 120);
  EXPECT_EQ(next_deadline_ms(bench.state), 6000);
}

TEST(AgentMachine, TerminateBeforeTheProgramRunsEndsTheInstance) {
  {
    Bench bench;
    bench.tell(Kind::kPrepare);
    EXPECT_THAT(bench.tell(Kind::kTerminate).effects, ElementsAre(Effect::kAbandon));
    EXPECT_EQ(bench.phase(), Phase::kExited);
    bench.on(PrepareDone{});
    EXPECT_FALSE(bench.changed) << "what was abandoned is not heard";
  }
  {
    Bench bench;
    bench.prepare();
    EXPECT_THAT(bench.tell(Kind::kTerminate).effects, IsEmpty());
    EXPECT_EQ(bench.state.report.exit, (Exit{143, "", true}));
  }
  {
    Bench bench;  // between the order to start and the program's first instruction
    bench.prepare();
    bench.tell(Kind::kStart);
    EXPECT_THAT(bench.tell(Kind::kTerminate).effects, IsEmpty());
    EXPECT_THAT(bench.on(ProgramStarted{}).effects, ElementsAre(Effect::kTerminate));
  }
}

TEST(AgentMachine, FailuresAreReportedOnceAndEndEverything) {
  struct Case {
    void (*reach)(Bench&);
    std::vector<Effect> effects;
  };
  const Case cases[] = {
      {[](Bench& bench) { bench.tell(Kind::kPrepare); }, {Effect::kAbandon, Effect::kKill}},
      {[](Bench& bench) { bench.run(); }, {Effect::kKill}},
      {[](Bench& bench) { bench.exit(0), bench.tell(Kind::kStage); }, {Effect::kAbandon, Effect::kKill}},
      {[](Bench& bench) { bench.exit(0), bench.tell(Kind::kPublish); }, {Effect::kAbandon, Effect::kKill}},
  };
  for (const Case& a_case : cases) {
    Bench bench;
    a_case.reach(bench);
    EXPECT_EQ(bench.on(WorkFailed{"ClientError: first"}).effects, a_case.effects);
    EXPECT_EQ(bench.phase(), Phase::kBroken);
    bench.on(WorkFailed{"ClientError: second"});
    EXPECT_FALSE(bench.changed);
    bench.on(ProgramExited{0, "", {}});
    EXPECT_FALSE(bench.changed);
    EXPECT_EQ(bench.state.report.error, "ClientError: first");
  }
}

TEST(AgentMachine, AProgramThatIsNotThereIsTheUsersError) {
  Bench bench;
  bench.prepare();
  bench.tell(Kind::kStart);
  bench.on(ProgramMissing{"ClientError: not found"});
  EXPECT_EQ(bench.phase(), Phase::kBroken);
  EXPECT_EQ(bench.state.report.error, "ClientError: not found");
}

TEST(AgentMachine, ReleaseIsFinal) {
  Bench bench;
  bench.run();
  EXPECT_THAT(bench.tell(Kind::kRelease).effects, ElementsAre(Effect::kRelease));
  EXPECT_THAT(bench.tell(Kind::kRelease).effects, IsEmpty());
}

// Whatever comes in whatever order: phases only move forward, and each kind of work is begun at most once.
TEST(AgentMachine, AnyOrderOfEventsKeepsTheInvariants) {
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    SeededRandom random(seed);
    Bench bench;
    int begun[8] = {};
    for (int step = 0; step < 60; ++step) {
      bench.now_ms += static_cast<std::int64_t>(random.below(50'000));
      const Phase before = bench.phase();
      Outcome outcome;
      switch (random.below(12)) {
        case 0: outcome = bench.on(PrepareDone{}); break;
        case 1: outcome = bench.on(ProgramStarted{}); break;
        case 2: outcome = bench.on(ProgramExited{1, "", {}}); break;
        case 3: outcome = bench.on(StageDone{"x"}); break;
        case 4: outcome = bench.on(PublishDone{}); break;
        case 5: outcome = bench.on(TimePassed{}); break;
        case 6: outcome = bench.on(random.below(20) == 0 ? Event(WorkFailed{"e"}) : Event(TimePassed{})); break;
        case 7:
          outcome = bench.on(
              Command{"job", 1, random.below(bench.sequence + 1) + 1, static_cast<Kind>(random.below(6)), 5, {}});
          bench.sequence = std::max(bench.sequence, bench.state.report.last_sequence);
          break;
        default: outcome = bench.tell(static_cast<Kind>(random.below(6)), 5); break;
      }
      for (const Effect effect : outcome.effects) ++begun[static_cast<int>(effect)];
      ASSERT_GE(bench.phase(), before);
      ASSERT_TRUE(bench.phase() != Phase::kRunning || begun[static_cast<int>(Effect::kStart)] == 1);
      ASSERT_TRUE(outcome.effects.empty() || bench.changed) << "what is done is known to have been begun";
    }
    for (const Effect once :
         {Effect::kPrepare, Effect::kStart, Effect::kTerminate, Effect::kStage, Effect::kPublish, Effect::kRelease}) {
      ASSERT_LE(begun[static_cast<int>(once)], 1) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace athanor::node
