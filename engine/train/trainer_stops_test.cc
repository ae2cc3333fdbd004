// A training run that is stopped anywhere, or loses its disk, goes on from its checkpoint as if nothing had been.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "common/error.h"
#include "common/temporary_folder.h"
#include "engine/train/checkpoint_test_support.h"
#include "engine/train/trainer_test_support.h"

namespace athanor::train {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The second run finishes what the first began, as the one that never stopped did.
void expect_bitwise(const Report& first, const Report& second, const Report& whole) {
  EXPECT_EQ(second.outcome, Outcome::kFinished);
  std::vector<double> losses = first.losses;
  losses.insert(losses.end(), second.losses.begin(), second.losses.end());
  EXPECT_EQ(losses, whole.losses);
  EXPECT_EQ(second.parameters, whole.parameters);
}

TEST(Trainer, StoppedAnywhereAndResumedIsBitwiseTheSameRun) {
  const Report whole = run(small_options());
  for (const auto& [stop_at, stop_index, done] : std::vector<std::tuple<std::int64_t, std::int64_t, std::int64_t>>{
           {1, 6, 1}, {5, 6, 5}, {11, 6, 11}, {1, 0, 0}, {5, 3, 4}, {12, 5, 11}}) {
    const TemporaryFolder folder;
    TrainOptions options = small_options();
    options.checkpoint_folder = folder.path() + "/checkpoints";
    const Report first = run(options, 1, stop_at, stop_index);
    EXPECT_EQ(first.outcome, Outcome::kStopped);
    EXPECT_EQ(first.losses.size(), static_cast<std::size_t>(done)) << "a step is given up between its micro-batches";
    EXPECT_THAT(first.checkpoints, ElementsAre(checkpoint_name(done)));
    const Report second = run(options);
    expect_bitwise(first, second, whole);
  }
}

TEST(Trainer, StoppedInAnEvaluationLeavesItAndResumedIsBitwiseTheSameRun) {
  const Report whole = run(small_options());  // evaluated before the first step, then every 4
  for (const std::int64_t stop_after : {0, 4, 8, 12}) {
    SCOPED_TRACE(stop_after);
    const TemporaryFolder folder;
    TrainOptions options = small_options();
    options.checkpoint_folder = folder.path();
    const Report first = run(options, Circumstances{.stop_after = stop_after, .stop_held_out = 2});
    EXPECT_EQ(first.outcome, Outcome::kStopped);
    EXPECT_THAT(first.held_out, ElementsAre(0, 1, 2, 3)) << "given up between its micro-batches, of 2 sequences";
    EXPECT_EQ(first.losses.size(), static_cast<std::size_t>(stop_after));
    EXPECT_EQ(first.evaluations.size(), static_cast<std::size_t>(stop_after / 4));
    EXPECT_THAT(first.checkpoints, ElementsAre(checkpoint_name(stop_after)));
    const Report second = run(options);
    expect_bitwise(first, second, whole);
    EXPECT_EQ(second.state.first_evaluation_loss, whole.state.first_evaluation_loss);
    if (stop_after == options.steps) continue;  // nothing is left to do: who wants that evaluation asks for it
    std::vector<std::pair<std::int64_t, double>> evaluations = first.evaluations;
    evaluations.insert(evaluations.end(), second.evaluations.begin(), second.evaluations.end());
    EXPECT_EQ(evaluations, whole.evaluations);
  }
}

TEST(Trainer, AnEvaluationThatOneRankGivesUpIsGivenUpByAll) {
  const Report whole = run(small_options());
  // Of three ranks the first has held-out sequence 0, the second 1 and 2, the last 3 and 4.
  for (const auto& [micro_batch, stop_held_out, given_up] :
       {std::tuple{1, 1, true}, {1, 3, true}, {2, 3, false}, {1, 0, false}}) {
    const TemporaryFolder folder;
    TrainOptions options = small_options();
    options.micro_batch = micro_batch;
    options.checkpoint_folder = folder.path();
    const Report first = run(options, Circumstances{.ranks = 3, .stop_after = 8, .stop_held_out = stop_held_out});
    EXPECT_EQ(first.outcome, Outcome::kStopped);
    EXPECT_EQ(first.losses.size(), 8U) << "one that was whole already is told, and the next step is given up";
    EXPECT_EQ(first.evaluations.size(), given_up ? 2U : 3U);
    const Report second = run(options, 2);
    std::vector<double> losses = first.losses;
    losses.insert(losses.end(), second.losses.begin(), second.losses.end());
    expect_near(losses, whole.losses, 2e-5);
  }
}

TEST(Trainer, OfEveryKindLearnsAndGoesOnBitwiseAfterAStop) {
  for (const TrainOptions& kind : kinds()) {
    for (const std::int64_t micro_batch :
         {2, 7}) {  // gradients of bfloat16 are float32's when there are several to sum
      SCOPED_TRACE(kind.dtype + " " + kind.optimizer);
      TrainOptions options = kind;
      options.micro_batch = micro_batch;
      const Report whole = run(options);
      EXPECT_LT(whole.losses.back(), whole.losses.front() - 0.5);
      const TemporaryFolder folder;
      options.checkpoint_folder = folder.path();
      std::vector<double> losses = run(options, 1, 5).losses;
      const Report second = run(options);
      losses.insert(losses.end(), second.losses.begin(), second.losses.end());
      EXPECT_EQ(losses, whole.losses);
      EXPECT_EQ(second.parameters, whole.parameters);
    }
  }
}

TEST(Trainer, ACheckpointOfAnotherKindIsRefused) {
  const TemporaryFolder folder;
  TrainOptions options = small_options();
  options.checkpoint_folder = folder.path();
  run(options, 1, 2);
  for (const auto& [change, text] : std::vector<std::pair<std::function<void(TrainOptions&)>, const char*>>{
           {[](TrainOptions& o) { o.dtype = "bfloat16"; }, "dtype float32, and this run has bfloat16"},
           {[](TrainOptions& o) { o.optimizer = "muon"; }, "optimizer adamw, and this run has muon"}}) {
    TrainOptions other = options;
    change(other);
    try {
      run(other);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  }
}

TEST(Trainer, AStopOnOneRankStopsAllAfterTheSameStepAndAnyNumberOfRanksGoesOn) {
  const Report whole = run(small_options());
  // Of three ranks the last has sequences 4 to 6; at 4 it gives the step up, and the others with it.
  for (const auto& [stop_index, done] : std::vector<std::pair<std::int64_t, std::size_t>>{{6, 6}, {4, 5}}) {
    const TemporaryFolder folder;
    TrainOptions options = small_options();
    options.checkpoint_folder = folder.path();
    const Report first = run(options, 3, 6, stop_index);
    EXPECT_EQ(first.outcome, Outcome::kStopped);
    EXPECT_EQ(first.losses.size(), done);
    const Report second = run(options, 2);
    std::vector<double> losses = first.losses;
    losses.insert(losses.end(), second.losses.begin(), second.losses.end());
    ASSERT_EQ(losses.size(), whole.losses.size());
    for (std::size_t i = 0; i < losses.size(); ++i) EXPECT_NEAR(losses[i], whole.losses[i], 2e-5);
    // A run that is done already has nothing to do.
    const Report third = run(options);
    EXPECT_EQ(third.outcome, Outcome::kFinished);
    EXPECT_TRUE(third.losses.empty());
  }
}

TEST(Trainer, KeepsTheLastCheckpointsOnly) {
  const TemporaryFolder folder;
  TrainOptions options = small_options();
  options.checkpoint_folder = folder.path();
  options.checkpoint_every = 3;
  EXPECT_THAT(run(options).checkpoints,
              ElementsAre("step-00000003", "step-00000006", "step-00000009", "step-00000012"));
  SystemFiles files;
  EXPECT_THAT(files.list(folder.path()), ElementsAre("step-00000009", "step-00000012"));
}

TEST(Trainer, WhatGoesWrongWithACheckpointEndsTheRunSoon) {
  for (const bool with_room : {true, false}) {
    const TemporaryFolder folder;
    TrainOptions options = small_options();
    options.steps = 1000;
    options.checkpoint_every = 1;
    options.checkpoint_room = with_room;
    options.checkpoint_folder = folder.path();
    tensor::Context context(1);
    parallel::Alone alone;
    Language language;
    CrashingFiles files(400);  // some checkpoints are whole
    SystemClock clock;
    LanguageModeling objective(language, options);
    Trainer trainer(small_config(), options, context, alone, objective, files, clock);
    trainer.initialize();
    try {
      trainer.run(false, {});
      FAIL();
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("Input/output error"));
    }
    EXPECT_LT(trainer.state().step, 20);
    EXPECT_TRUE(trainer.resume());  // from one that is whole
  }
}

}  // namespace
}  // namespace athanor::train
