// Steps that go wrong: numbers that are not finite are passed over, spikes of the loss gone back from.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "common/error.h"
#include "common/temporary_folder.h"
#include "engine/train/trainer_test_support.h"

namespace athanor::train {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

TEST(Trainer, AStepThatIsNotFiniteChangesNothingOnAnyRank) {
  for (const TrainOptions& options : kinds()) {
    SCOPED_TRACE(options.dtype + " " + options.optimizer);
    const Report whole = run(options);
    for (const int ranks : {2, 3}) {
      const Report skipping = run(options, Circumstances{.ranks = ranks, .poisoned = {3, 6, 7}});
      EXPECT_THAT(skipping.skipped, ElementsAre(3, 6, 7));
      EXPECT_EQ(skipping.losses.size(), 12U);
      EXPECT_EQ(skipping.state.step, 12);
      EXPECT_EQ(skipping.state.skipped_steps, 3);
      EXPECT_EQ(skipping.state.skipped_in_a_row, 0);
      for (const float value : skipping.parameters) ASSERT_TRUE(std::isfinite(value));
      EXPECT_NEAR(skipping.losses[2], whole.losses[2], exact(options) ? 2e-4 : 0.05);
      EXPECT_NE(skipping.losses[3], whole.losses[3]);
      EXPECT_LT(skipping.losses.back(), skipping.losses.front() - 0.3) << "what the optimizer keeps is untouched too";
    }
  }
}

TEST(Trainer, TooManyStepsInARowThatAreNotFiniteEndTheRun) {
  TrainOptions options = small_options();
  options.non_finite_steps_max = 2;
  EXPECT_EQ(run(options, Circumstances{.ranks = 2, .poisoned = {2, 3, 5, 6}}).state.skipped_steps, 4);
  try {
    run(options, Circumstances{.ranks = 2, .poisoned = {4, 5, 6}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("Step 6"));
    EXPECT_THAT(error.what(), HasSubstr("the 2 steps before"));
    EXPECT_THAT(error.what(), HasSubstr("learning_rate"));
  }
}

// Goes back once or twice, for the two steps of noise, on the way.
TrainOptions spiky_options(const TemporaryFolder& folder) {
  TrainOptions options = small_options();
  options.steps = 60;
  options.evaluate_every = 0;
  options.checkpoint_every = 10;
  options.checkpoint_folder = folder.path() + "/checkpoints";
  options.spike_factor = 1.4;
  return options;
}

TEST(Trainer, ASpikeGoesBackToTheCheckpointAndPastItsData) {
  const auto noisy = [] { return std::make_unique<Language>(44); };
  Report one;
  for (const int ranks : {1, 2, 3}) {
    const TemporaryFolder folder;
    const Report report = run(spiky_options(folder), Circumstances{.ranks = ranks, .sequences = noisy});
    EXPECT_THAT(report.rollbacks, ElementsAre(Pair(44, 40), Pair(41, 40)));
    EXPECT_EQ(report.state.step, 60);
    EXPECT_EQ(report.state.data_step, 65);  // 41 to 45 were passed over
    EXPECT_EQ(report.state.rollbacks, 2);
    if (ranks == 1) one = report;
    expect_near(report.losses, one.losses, 2e-4);
  }
  // By default nobody goes back.
  TrainOptions plain = spiky_options(TemporaryFolder());
  plain.spike_factor = 0;
  plain.checkpoint_every = 0;
  plain.checkpoint_folder.clear();
  const Report unaware = run(plain, Circumstances{.sequences = noisy});
  EXPECT_TRUE(unaware.rollbacks.empty());
  EXPECT_EQ(unaware.losses.size(), 60U);
}

TEST(Trainer, AfterARollbackResumedIsStillBitwiseTheSameRun) {
  const auto noisy = [] { return std::make_unique<Language>(44); };
  const TemporaryFolder folder, other;
  const Report whole = run(spiky_options(folder), Circumstances{.sequences = noisy});
  const Report first = run(spiky_options(other), Circumstances{.stop_at = 47, .sequences = noisy});
  EXPECT_EQ(first.outcome, Outcome::kStopped);
  const Report second = run(spiky_options(other), Circumstances{.sequences = noisy});
  EXPECT_EQ(second.parameters, whole.parameters);
  EXPECT_EQ(second.state.data_step, whole.state.data_step);
}

TEST(Trainer, ASpikeThatStaysIsGoneThrough) {
  const TemporaryFolder folder;
  TrainOptions options = spiky_options(folder);
  options.spike_rollbacks_max = 1;
  const Report report = run(options, Circumstances{.sequences = [] { return std::make_unique<Language>(44); }});
  EXPECT_THAT(report.rollbacks, ElementsAre(Pair(44, 40)));
  EXPECT_EQ(report.state.step, 60);
}

}  // namespace
}  // namespace athanor::train
