// What learning from preferences promises: it begins at the reference, gets better at pairs that it has not seen, and its numbers
// do not depend on how a run is divided or stopped.
#include "engine/train/preference_optimization.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <utility>

#include "common/error.h"
#include "common/random.h"
#include "common/temporary_folder.h"
#include "engine/data/document_file.h"
#include "engine/parallel/thread_group.h"
#include "engine/train/small_model_test_support.h"
#include "engine/train/trainer.h"

namespace athanor::train {
namespace {

using testing::HasSubstr;

TrainOptions small_options() {
  return {.steps = 10,
          .batch = 7,
          .micro_batch = 2,
          .length = 20,
          .learning_rate = 1e-3,
          .warmup_steps = 2,
          .evaluate_every = 5,
          .evaluate_sequences = 9,
          .seed = 3};
}

// Answers to prompts of random tokens: of the chosen each token is the last one's double, of the rejected its triple, and one more.
std::shared_ptr<const data::DocumentFile> pairs(int count, std::uint64_t seed) {
  const TemporaryFolder folder;
  SystemFiles files;
  SeededRandom random(seed);
  data::DocumentFileWriter writer(files, folder / "pairs", 50, {}, 2);
  for (int i = 0; i < count; ++i) {
    data::TokenRun prompt;
    for (std::uint64_t left = 2 + random.below(5); left-- > 0;) {
      prompt.tokens.push_back(static_cast<std::int32_t>(random.below(50)));
    }
    for (const std::int32_t factor : {2, 3}) {
      data::TokenRun answer{.tokens = {}, .in_loss = true};
      std::int32_t token = prompt.tokens.back();
      for (std::uint64_t left = 3 + random.below(9); left-- > 0;) {
        answer.tokens.push_back(token = (token * factor + 1) % 50);
      }
      writer.append(std::vector{prompt, answer});
    }
  }
  writer.finish();
  return std::make_shared<const data::DocumentFile>(folder / "pairs");  // the mapping outlives the folder
}

struct Report {
  std::vector<double> losses;  // by step, of rank 0
  std::vector<Preferences> preferences;
  std::vector<Preparation> preparations;
  std::vector<Evaluation> evaluations;
  std::vector<float> trained;
  Outcome outcome = Outcome::kFinished;
  bool resumed = false;
};

struct Circumstances {
  int ranks = 1;
  std::int64_t stop_after = -1;  // steps, on the last rank; 0: before the references are known
  int pairs = 40;
  DpoOptions dpo{.beta = 0.3};
};

Report run(const TrainOptions& options, const Circumstances& with = {}) {
  Report result;
  const auto training = pairs(with.pairs, 1), held_out = pairs(30, 2);
  parallel::ThreadGroup(with.ranks).run([&](parallel::Collectives& collectives) {
    tensor::Context context(1);
    SystemFiles files;
    SystemClock clock;
    const data::PreferenceSequencesOptions as{.length = options.length, .batch = options.batch, .seed = options.seed};
    const data::PreferenceSequences mine(training, as), others(held_out, as);
    PreferenceOptimization objective(mine, &others, options, with.dpo);
    Trainer trainer(small_config(), options, context, collectives, objective, files, clock);
    trainer.initialize();
    const bool resumed = trainer.resume(), reports = collectives.rank() == 0,
               stops = collectives.rank() == collectives.size() - 1;
    std::atomic<bool> stop = stops && with.stop_after == 0;
    Events events;
    events.on_preparation = [&](const Preparation& p) {
      if (reports) result.preparations.push_back(p);
    };
    events.on_step = [&](const Progress& p) {
      if (stops && p.step == with.stop_after) stop = true;
      if (!reports) return;
      EXPECT_EQ(p.targets, options.batch);
      result.losses.push_back(p.loss);
      result.preferences.push_back(p.preferences.value());
    };
    events.on_evaluation = [&](const Evaluation& e) {
      if (reports) result.evaluations.push_back(e);
    };
    const Outcome outcome = trainer.run(stop, events);
    if (!reports) return;
    result.outcome = outcome;
    result.resumed = resumed;
    model::FlatParameters& trained = trainer.model().trained();
    for (const model::ParameterInfo& info : trained.layout().all()) {
      std::vector<float> values(static_cast<std::size_t>(info.count));
      trained.get(info, 0, values);
      result.trained.insert(result.trained.end(), values.begin(), values.end());
    }
  });
  return result;
}

std::vector<TrainOptions> kinds() {
  std::vector<TrainOptions> all(4, small_options());
  all[1].dtype = "bfloat16";
  all[2].lora_rank = 4;
  all[2].lora_dropout = 0.1;
  all[3].lora_rank = 4;
  all[3].base_dtype = "bfloat16";
  all[3].dtype = "bfloat16";
  return all;
}

// How far rewards of equal models may be apart: products of other shapes may sum in another order, before a bfloat16 is rounded.
double rounding_of(const TrainOptions& options) { return options.dtype == "float32" ? 1e-4 : 0.02; }

TEST(PreferenceOptimization, BeginsAtTheReference) {
  for (TrainOptions options : kinds()) {
    SCOPED_TRACE(options.dtype);
    options.lora_dropout = 0;
    options.steps = 1;
    const Report report = run(options);
    const double rounding = rounding_of(options);
    EXPECT_NEAR(report.losses.at(0), std::log(2), rounding);
    EXPECT_NEAR(report.preferences.at(0).chosen_reward, 0, rounding);
    EXPECT_NEAR(report.preferences.at(0).rejected_reward, 0, rounding);
    EXPECT_NEAR(report.evaluations.at(0).loss, std::log(2), 1e-9);
  }
}

TEST(PreferenceOptimization, TellsHowFarTheReferencesAre) {
  TrainOptions options = small_options();
  options.steps = 1;
  const Report report =
      run(options, {.ranks = 2});  // each has 20 pairs and, of the nine that an evaluation takes, four or five
  ASSERT_FALSE(report.preparations.empty());
  const std::int64_t of = report.preparations.front().of;
  EXPECT_TRUE(of == 24 || of == 25) << of;
  EXPECT_EQ(report.preparations.front().done, 2);
  EXPECT_EQ(report.preparations.back().done, of);
  for (const Preparation& preparation : report.preparations) EXPECT_EQ(preparation.of, of);
}

TEST(PreferenceOptimization, RecomputationIsChosenWithTheReferencesInMind) {
  const auto training = pairs(3000, 1);
  TrainOptions options = small_options();
  parallel::Alone alone;
  tensor::Context context(1);
  SystemFiles files;
  SystemClock clock;
  const data::PreferenceSequences mine(training,
                                       {.length = options.length, .batch = options.batch, .seed = options.seed});
  PreferenceOptimization objective(mine, nullptr, options, {});
  const auto needs = [&] {
    return Trainer(small_config(), options, context, alone, objective, files, clock).memory().bytes();
  };
  options.recompute = "little";
  const std::uint64_t all = needs();
  options.recompute = "auto";
  options.memory_limit_bytes = all - 1000;  // of which the references take 24,000
  EXPECT_LT(needs(), all - 1000);
}

TEST(PreferenceOptimization, LearnsToPreferWhatItHasNotSeen) {
  for (TrainOptions options : kinds()) {
    SCOPED_TRACE(fmt::format("{} {}", options.dtype, options.lora_rank));
    options.steps = options.lora_rank > 0 ? 120 : 60;
    options.evaluate_every = options.steps;
    options.evaluate_sequences = 30;
    const bool adapts = options.lora_rank > 0;  // a model of random numbers, which small adapters turn but so far
    options.learning_rate = adapts ? 5e-2 : 5e-3;
    const Report report = run(options, {.pairs = 200});
    EXPECT_EQ(report.evaluations.front().preferences->margin(), 0);  // the same numbers, computed alike
    EXPECT_EQ(report.evaluations.front().preferences->accuracy, 0.5);
    EXPECT_GT(report.evaluations.back().preferences->accuracy, adapts ? 0.65 : 0.9);
    EXPECT_GT(report.evaluations.back().preferences->margin(), adapts ? 0.04 : 0.5);
    EXPECT_LT(report.evaluations.back().loss, report.evaluations.front().loss - (adapts ? 0.015 : 0.2));
  }
}

TEST(PreferenceOptimization, RanksAndMicroBatchesChangeRoundingOnly) {
  for (const TrainOptions& kind : kinds()) {
    SCOPED_TRACE(fmt::format("{} {}", kind.dtype, kind.lora_rank));
    const Report one = run(kind);
    const double tolerance = kind.dtype == "float32" ? 5e-4 : 0.1;
    for (const auto& [ranks, micro_batch] : {std::pair{1, 7}, {2, 2}, {9, 1}}) {  // 9: more ranks than pairs
      TrainOptions options = kind;
      options.micro_batch = micro_batch;
      const Report other = run(options, {.ranks = ranks});
      ASSERT_EQ(other.losses.size(), one.losses.size());
      for (std::size_t i = 0; i < one.losses.size(); ++i) {
        EXPECT_NEAR(other.losses[i], one.losses[i], tolerance);
        EXPECT_NEAR(other.preferences[i].chosen_reward, one.preferences[i].chosen_reward, tolerance);
        EXPECT_NEAR(other.preferences[i].rejected_reward, one.preferences[i].rejected_reward, tolerance);
      }
      ASSERT_EQ(other.evaluations.size(), one.evaluations.size());
      for (std::size_t i = 0; i < one.evaluations.size(); ++i) {
        EXPECT_NEAR(other.evaluations[i].loss, one.evaluations[i].loss, tolerance);
      }
    }
  }
}

TEST(PreferenceOptimization, StoppedAndResumedIsBitwiseTheSameRun) {
  for (const TrainOptions& kind : kinds()) {
    for (const int ranks : {1, 2}) {
      SCOPED_TRACE(fmt::format("{} {} {}", kind.dtype, kind.lora_rank, ranks));
      const Report whole = run(kind, {.ranks = ranks});
      const TemporaryFolder folder;
      TrainOptions options = kind;
      options.checkpoint_folder = folder.path();
      const Report first = run(options, {.ranks = ranks, .stop_after = 4});
      EXPECT_EQ(first.outcome, Outcome::kStopped);
      EXPECT_EQ(first.losses.size(), 4U);
      const Report second = run(options, {.ranks = ranks});
      EXPECT_TRUE(second.resumed);
      std::vector<double> losses = first.losses;
      losses.insert(losses.end(), second.losses.begin(), second.losses.end());
      EXPECT_EQ(losses, whole.losses);
      EXPECT_EQ(second.evaluations.back().loss, whole.evaluations.back().loss);
      EXPECT_EQ(second.trained, whole.trained);
    }
  }
}

TEST(PreferenceOptimization, CheckpointsBesideTheStepsHaveTheReferencesToo) {
  const TemporaryFolder folder;
  TrainOptions options = small_options();
  options.checkpoint_every = 1;
  options.checkpoint_folder = folder.path();
  const Report first = run(options, {.stop_after = 7});
  const Report second = run(options);
  EXPECT_TRUE(second.resumed);
  EXPECT_EQ(second.trained, run(small_options()).trained);
}

TEST(PreferenceOptimization, StoppedBeforeItKnowsTheReferenceItLeavesNothing) {
  const TemporaryFolder folder;
  TrainOptions options = small_options();
  options.checkpoint_folder = folder.path();
  const Report first = run(options, {.ranks = 2, .stop_after = 0});
  EXPECT_EQ(first.outcome, Outcome::kStopped);
  EXPECT_TRUE(first.losses.empty());
  EXPECT_TRUE(first.evaluations.empty());
  const Report second = run(options, {.ranks = 2});
  EXPECT_FALSE(second.resumed);
  EXPECT_EQ(second.losses, run(small_options(), {.ranks = 2}).losses);
}

TEST(PreferenceOptimization, BetaAndLabelSmoothingAreAtWork) {
  TrainOptions options = small_options();
  options.steps = 30;
  options.learning_rate = 5e-3;
  const Report plain = run(options);
  // Margins are β times as large, and a part of the labels pulls the other way.
  EXPECT_GT(run(options, {.dpo = {.beta = 1}}).evaluations.back().preferences->margin(),
            plain.evaluations.back().preferences->margin());
  const Report smoothed = run(options, {.dpo = {.beta = 0.3, .label_smoothing = 0.3}});
  EXPECT_NEAR(smoothed.losses.front(), std::log(2), 1e-5);
  EXPECT_LT(smoothed.evaluations.back().preferences->margin(), plain.evaluations.back().preferences->margin());
}

void refused(const std::function<void()>& action, const char* text) {
  try {
    action();
    ADD_FAILURE() << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
    EXPECT_THAT(error.what(), HasSubstr(text));
  }
}

TEST(PreferenceOptimization, ACheckpointOfOtherPairsIsRefused) {
  const TemporaryFolder folder;
  TrainOptions options = small_options();
  options.checkpoint_folder = folder.path();
  run(options, {.stop_after = 2});
  refused([&] { run(options, {.pairs = 41}); }, "it was made with objective dpo on 40 pairs (");
  options.evaluate_sequences = 8;
  refused([&] { run(options); }, "evaluated on 9 (evaluate_sequences");
}

TEST(PreferenceOptimization, RefusesBadOptionsByName) {
  TrainOptions options = small_options();
  refused([&] { run(options, {.dpo = {.beta = -1}}); }, "beta");
  refused([&] { run(options, {.dpo = {.label_smoothing = 0.5}}); }, "label_smoothing");
  options.z_loss = 1e-4;
  refused([&] { run(options); }, "z_loss");
}

}  // namespace
}  // namespace athanor::train
