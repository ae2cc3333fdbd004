// What a training run promises: numbers that do not depend on how it is divided over ranks and micro-batches, or on the memory
// that it may take.
#include "engine/train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "common/error.h"
#include "engine/train/trainer_test_support.h"

namespace athanor::train {
namespace {

using testing::HasSubstr;

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

TEST(Trainer, ZLossIsAPartOfTheLossAndNotOfAnEvaluation) {
  TrainOptions options = small_options();
  options.steps = 60;
  const Report plain = run(options);
  options.z_loss = 0.05;
  const Report with = run(options);
  // At the beginning logits are near 0, and the normaliser of 50 tokens is 50.
  EXPECT_NEAR(with.losses.front() - plain.losses.front(), 0.05 * std::log(50) * std::log(50), 0.01);
  EXPECT_EQ(with.evaluations.front(), plain.evaluations.front());
  EXPECT_GT(with.losses.back(), with.evaluations.back().second + 0.05);
  EXPECT_LT(with.evaluations.back().second, 2.2);
  expect_near(run(options, 3).losses, with.losses, 2e-4);
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

TEST(Trainer, OfEveryKindRanksAndMicroBatchesChangeRoundingOnly) {
  for (const TrainOptions& kind : kinds()) {
    SCOPED_TRACE(kind.dtype + " " + kind.optimizer);
    const Report one = run(kind);
    for (const auto& [ranks, micro_batch] : {std::pair{2, 7}, {3, 1}, {3, 3}}) {
      TrainOptions options = kind;
      options.micro_batch = micro_batch;
      const Report other = run(options, ranks);
      expect_near(other.losses, one.losses, exact(kind) ? 2e-4 : 0.05);
    }
  }
}

TEST(Trainer, RecomputesAsLittleAsFitsAndTheNumbersStay) {
  tensor::Context context(1);
  parallel::Alone alone;
  Language language;
  SystemFiles files;
  SystemClock clock;
  const auto bytes_of = [&](const TrainOptions& options) {
    LanguageModeling objective(language, options);
    return Trainer(small_config(), options, context, alone, objective, files, clock).memory().bytes();
  };
  TrainOptions options = small_options();
  options.micro_batch = 7;
  std::vector<std::uint64_t> bytes;  // of the ladder, from cheap to thorough
  const Report all_kept = run(options);
  for (const auto& [recompute, layers] :
       {std::pair{"little", 0}, {"gate_up", 1}, {"gate_up", 2}, {"layer", 1}, {"layer", 2}}) {
    options.recompute = recompute;
    options.recompute_layers = layers;
    bytes.push_back(bytes_of(options));
    EXPECT_EQ(run(options).parameters, all_kept.parameters);
  }
  options.recompute_layers = 0;  // is all of them
  EXPECT_EQ(bytes_of(options), bytes.back());
  options.recompute = "auto";
  for (const std::uint64_t limit : bytes) {
    options.memory_limit_bytes = limit;
    const auto lowest = std::ranges::find_if(bytes, [&](std::uint64_t taken) { return taken <= limit; });
    EXPECT_EQ(bytes_of(options), *lowest);
  }
}

// What is placed may take more than its fullest phase needs: by that alone a rung would be chosen that does not fit.
TEST(Trainer, RecomputesMoreWhereWhatIsPlacedTakesMoreThanItsFullestPhaseNeeds) {
  tensor::Context context(1);
  parallel::Alone alone;
  Language language;
  SystemFiles files;
  SystemClock clock;
  int fragmented = 0;
  for (const auto& [layers, feed_forward, micro_batch] :
       {std::tuple{3, 40, 1}, {4, 24, 4}, {5, 24, 2}, {6, 72, 1}, {7, 40, 2}, {9, 24, 1}}) {
    SCOPED_TRACE(fmt::format("{} layers, {} wide, {} at once", layers, feed_forward, micro_batch));
    model::Config config = small_config();
    config.num_hidden_layers = layers;
    config.intermediate_size = feed_forward;
    TrainOptions options = small_options();
    options.batch = options.micro_batch = micro_batch;  // gradients are made anew, and activations lie in their place
    std::vector<std::uint64_t> bytes;                   // of the ladder
    const auto plan = [&](const char* recompute, std::int64_t recompute_layers, std::uint64_t limit) {
      options.recompute = recompute;
      options.recompute_layers = recompute_layers;
      options.memory_limit_bytes = limit;
      LanguageModeling objective(language, options);
      const Trainer trainer(config, options, context, alone, objective, files, clock);
      fragmented += trainer.memory().bytes() > trainer.memory().least_bytes();
      return trainer.memory().bytes();
    };
    bytes.push_back(plan("little", 0, 0));
    for (const char* recompute : {"gate_up", "layer"}) {
      for (std::int64_t l = 1; l <= layers; ++l) bytes.push_back(plan(recompute, l, 0));
    }
    for (const std::uint64_t limit : bytes) {
      const auto lowest = std::ranges::find_if(bytes, [&](std::uint64_t taken) { return taken <= limit; });
      EXPECT_EQ(plan("auto", 0, limit), *lowest);
    }
  }
  EXPECT_GT(fragmented, 0);
}

TEST(Trainer, LearnsOnlyTargetsAndDocumentsDoNotSeeEachOther) {
  // 8 documents a step: each in a row of its own, or packed; the numbers are the same.
  std::vector<std::vector<double>> losses;
  for (const std::int64_t per_row : {1, 2}) {
    TrainOptions options = small_options();
    options.batch = 8 / per_row;
    options.evaluate_sequences = 100;
    const auto sequences = [per_row] { return std::make_unique<Documents>(per_row); };
    const Report one = run(options, Circumstances{.sequences = sequences});
    losses.push_back(one.losses);
    losses.back().push_back(one.evaluations.back().second);
    EXPECT_LT(one.losses.back(), one.losses.front());
    for (const int ranks : {2, 3}) {
      options.micro_batch = ranks;
      expect_near(run(options, Circumstances{.ranks = ranks, .sequences = sequences}).losses, one.losses, 2e-5);
    }
  }
  expect_near(losses[1], losses[0], 2e-5);
}

TEST(Trainer, SaysWhatToChangeWhenMemoryIsShort) {
  tensor::Context context(1);
  parallel::Alone alone;
  Language language;
  SystemFiles files;
  SystemClock clock;
  TrainOptions options = small_options();
  options.memory_limit_bytes = 1000;
  LanguageModeling objective(language, options);
  try {
    Trainer(small_config(), options, context, alone, objective, files, clock);
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
           {[](TrainOptions& o) { o.schedule = "step"; }, "schedule"},
           {[](TrainOptions& o) { o.dtype = "float16"; }, "dtype"},
           {[](TrainOptions& o) { o.optimizer = "sgd"; }, "optimizer"},
           {[](TrainOptions& o) { o.muon_momentum = 1; }, "muon_momentum"},
           {[](TrainOptions& o) { o.recompute = "all"; }, "recompute"},
           {[](TrainOptions& o) { o.recompute_layers = 2; }, "recompute_layers"},
           {[](TrainOptions& o) { o.z_loss = -1e-4; }, "z_loss"},
           {[](TrainOptions& o) { o.spike_factor = 0.9; }, "spike_factor"},
           {[](TrainOptions& o) { o.spike_factor = 2; }, "checkpoint_every"},
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
    void training(std::int64_t, std::int64_t, const data::Row& row) override {
      std::ranges::fill(row.tokens, 0);
      std::ranges::fill(row.targets, 50);
    }
    std::int64_t evaluation_count(std::int64_t) override { return 0; }
    void evaluation(std::int64_t, const data::Row&) override {}
  } foreign;
  tensor::Context context(1);
  parallel::Alone alone;
  SystemFiles files;
  SystemClock clock;
  LanguageModeling objective(foreign, small_options());
  Trainer trainer(small_config(), small_options(), context, alone, objective, files, clock);
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
