// What a training run promises: numbers that do not depend on how it is divided over ranks and micro-batches, on being
// stopped, or on a crash at any moment.
#include "engine/train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "common/error.h"
#include "common/random.h"
#include "common/temporary_folder.h"
#include "engine/parallel/thread_group.h"

namespace athanor::train {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

model::Config small_config() {
  return {.vocab_size = 50,
          .hidden_size = 16,
          .intermediate_size = 24,
          .num_hidden_layers = 2,
          .num_attention_heads = 2,
          .num_key_value_heads = 1,
          .head_dim = 8,
          .max_position_embeddings = 64};
}

TrainOptions small_options() {
  return {.steps = 12,
          .batch = 7,
          .micro_batch = 2,
          .length = 20,
          .learning_rate = 1e-2,
          .learning_rate_min = 1e-3,
          .warmup_steps = 3,
          .evaluate_every = 4,
          .evaluate_sequences = 5,
          .seed = 3};
}

// A language with something to learn: each token is mostly the last one times 3 plus 1.
class Language final : public data::Sequences {
 public:
  // Called before each sequence of training.
  std::function<void(std::int64_t step, std::int64_t index)> on_training = [](std::int64_t, std::int64_t) {};

  void training(std::int64_t step, std::int64_t index, std::span<std::int32_t> tokens) override {
    on_training(step, index);
    fill(static_cast<std::uint64_t>(step * 1000 + index), tokens);
  }
  std::int64_t evaluation_count(std::int64_t) override { return 100; }
  void evaluation(std::int64_t index, std::span<std::int32_t> tokens) override {
    fill(static_cast<std::uint64_t>(1'000'000 + index), tokens);
  }

 private:
  static void fill(std::uint64_t seed, std::span<std::int32_t> tokens) {
    SeededRandom random(seed);
    std::int32_t token = static_cast<std::int32_t>(random.below(50));
    for (std::int32_t& next : tokens) {
      next = token;
      token = random.below(10) == 0 ? static_cast<std::int32_t>(random.below(50)) : (token * 3 + 1) % 50;
    }
  }
};

struct Report {
  std::vector<double> losses;                            // by step, of rank 0
  std::vector<std::pair<std::int64_t, double>> evaluations;
  std::vector<std::string> checkpoints;
  Outcome outcome = Outcome::kFinished;
  std::vector<float> parameters;
};

// One run from what its checkpoint folder holds; stops as if by a signal at sequence `stop_index` of step `stop_at`. The
// last of a step's 7 sequences is in a micro-batch that has no other after it.
Report run(const TrainOptions& options, int ranks = 1, std::int64_t stop_at = 0, std::int64_t stop_index = 6) {
  Report result;
  parallel::ThreadGroup(ranks).run([&](parallel::Collectives& collectives) {
    tensor::Context context(1);
    Language language;
    SystemFiles files;
    SystemClock clock;
    Trainer trainer(small_config(), options, context, collectives, language, files, clock);
    if (!trainer.resume()) trainer.initialize();
    std::atomic<bool> stop = false;
    language.on_training = [&](std::int64_t step, std::int64_t index) { stop = stop || (step == stop_at && index == stop_index); };
    Events events;
    const bool reports = collectives.rank() == 0;
    events.on_step = [&](const Progress& progress) {
      if (reports) result.losses.push_back(progress.loss);
    };
    if (reports) {
      events.on_evaluation = [&](std::int64_t step, double loss) { result.evaluations.emplace_back(step, loss); };
    }
    events.on_checkpoint = [&](const std::string& name, std::int64_t) {
      EXPECT_TRUE(reports);
      result.checkpoints.push_back(name);
    };
    const Outcome outcome = trainer.run(stop, events);
    if (reports) {
      result.outcome = outcome;
      const auto values = trainer.parameters().values().floats();
      result.parameters.assign(values.begin(), values.end());
    }
  });
  return result;
}

TEST(Trainer, LearnsAndReportsEveryStep) {
  TrainOptions options = small_options();
  options.steps = 60;
  const Report learned = run(options);
  ASSERT_EQ(learned.losses.size(), 60U);
  EXPECT_NEAR(learned.losses.front(), std::log(50), 0.1);
  EXPECT_LT(learned.losses.back(), 2);
  ASSERT_EQ(learned.evaluations.size(), 16U);  // before the first step, then every 4
  EXPECT_EQ(learned.evaluations.front().first, 0);
  EXPECT_EQ(learned.evaluations.back().first, 60);
  EXPECT_LT(learned.evaluations.back().second, 2);
  EXPECT_TRUE(learned.checkpoints.empty());
}

TEST(Trainer, NumbersDoNotDependOnRanksOrMicroBatches) {
  const Report one = run(small_options());
  for (const int ranks : {1, 2, 3, 9}) {  // 9: more ranks than sequences
    for (const std::int64_t micro_batch : {1, 3, 100}) {
      TrainOptions options = small_options();
      options.micro_batch = micro_batch;
      const Report other = run(options, ranks);
      ASSERT_EQ(other.losses.size(), one.losses.size());
      for (std::size_t i = 0; i < one.losses.size(); ++i) EXPECT_NEAR(other.losses[i], one.losses[i], 2e-5);
      ASSERT_EQ(other.evaluations.size(), one.evaluations.size());
      for (std::size_t i = 0; i < one.evaluations.size(); ++i) {
        EXPECT_EQ(other.evaluations[i].first, one.evaluations[i].first);
        EXPECT_NEAR(other.evaluations[i].second, one.evaluations[i].second, 2e-5);
      }
    }
  }
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
    EXPECT_EQ(second.outcome, Outcome::kFinished);
    std::vector<double> losses = first.losses;
    losses.insert(losses.end(), second.losses.begin(), second.losses.end());
    EXPECT_EQ(losses, whole.losses);
    EXPECT_EQ(second.parameters, whole.parameters);
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

TEST(Trainer, SaysWhatToChangeWhenMemoryIsShort) {
  tensor::Context context(1);
  parallel::Alone alone;
  Language language;
  SystemFiles files;
  SystemClock clock;
  TrainOptions options = small_options();
  options.memory_limit_bytes = 1000;
  try {
    Trainer(small_config(), options, context, alone, language, files, clock);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kExhausted);
    EXPECT_THAT(error.what(), HasSubstr("smaller micro_batch"));
    EXPECT_THAT(error.what(), HasSubstr("optimizer"));
  }
}

TEST(Trainer, RefusesBadOptionsAndForeignTokensByName) {
  for (const auto& [change, name] : std::vector<std::pair<std::function<void(TrainOptions&)>, const char*>>{
           {[](TrainOptions& o) { o.steps = 0; }, "steps"},
           {[](TrainOptions& o) { o.micro_batch = -1; }, "micro_batch"},
           {[](TrainOptions& o) { o.learning_rate = NAN; }, "learning_rate"},
           {[](TrainOptions& o) { o.learning_rate_min = 1; }, "learning_rate_min"},
           {[](TrainOptions& o) { o.beta2 = 1; }, "beta2"},
           {[](TrainOptions& o) { o.checkpoints_kept = 0; }, "checkpoints_kept"}}) {
    TrainOptions options = small_options();
    change(options);
    try {
      check(options);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(name));
    }
  }
  class Foreign final : public data::Sequences {
    void training(std::int64_t, std::int64_t, std::span<std::int32_t> tokens) override {
      for (auto& token : tokens) token = 50;
    }
    std::int64_t evaluation_count(std::int64_t) override { return 0; }
    void evaluation(std::int64_t, std::span<std::int32_t>) override {}
  } foreign;
  tensor::Context context(1);
  parallel::Alone alone;
  SystemFiles files;
  SystemClock clock;
  Trainer trainer(small_config(), small_options(), context, alone, foreign, files, clock);
  trainer.initialize();
  EXPECT_THROW(trainer.run(false, {}), Error);
}

TEST(LearningRate, WarmsUpThenFollowsTheCosine) {
  TrainOptions options = small_options();
  options.steps = 103;
  EXPECT_NEAR(learning_rate_at(options, 1), 1e-2 / 3, 1e-12);
  EXPECT_NEAR(learning_rate_at(options, 3), 1e-2, 1e-12);
  EXPECT_NEAR(learning_rate_at(options, 53), 5.5e-3, 1e-12);
  EXPECT_NEAR(learning_rate_at(options, 103), 1e-3, 1e-12);
  options.warmup_steps = 0;
  EXPECT_LT(learning_rate_at(options, 1), 1e-2);
}

TEST(LearningRate, EndsAtATenthOfAnyPeakUnlessTold) {
  for (const double peak : {1e-5, 1e-3, 2.0}) {
    const TrainOptions options{.steps = 50, .learning_rate = peak, .weight_decay = 0};
    check(options);
    EXPECT_DOUBLE_EQ(learning_rate_at(options, 50), peak / 10);
  }
  const TrainOptions told{.steps = 50, .learning_rate = 1e-3, .learning_rate_min = 0};
  EXPECT_EQ(learning_rate_at(told, 50), 0);
}

}  // namespace
}  // namespace athanor::train
