// What a training run promises: numbers that do not depend on how it is divided over ranks and micro-batches, on being
// stopped, or on a crash at any moment.
#include "engine/train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>

#include "common/error.h"
#include "common/random.h"
#include "common/temporary_folder.h"
#include "engine/parallel/thread_group.h"
#include "engine/tensor/cross_entropy.h"
#include "engine/train/checkpoint_test_support.h"
#include "engine/train/language_modeling.h"
#include "engine/train/small_model_test_support.h"

namespace athanor::train {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

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
  // At `noise_at` and the data step after it the tokens mean nothing.
  explicit Language(std::int64_t noise_at = -1) : noise_at_(noise_at) {}
  void training(std::int64_t step, std::int64_t index, const data::Row& row) override {
    const bool noise = noise_at_ >= 0 && (step == noise_at_ || step == noise_at_ + 1);
    fill(static_cast<std::uint64_t>(step * 1000 + index), row, noise ? 1 : 10);
  }
  std::int64_t evaluation_count(std::int64_t) override { return 100; }
  void evaluation(std::int64_t index, const data::Row& row) override {
    fill(static_cast<std::uint64_t>(1'000'000 + index), row, 10);
  }

 private:
  static void fill(std::uint64_t seed, const data::Row& row, std::uint64_t surprise_every) {
    SeededRandom random(seed);
    std::int32_t token = static_cast<std::int32_t>(random.below(50));
    for (std::size_t i = 0; i < row.tokens.size(); ++i) {
      row.tokens[i] = token;
      token = random.below(surprise_every) == 0 ? static_cast<std::int32_t>(random.below(50)) : (token * 3 + 1) % 50;
      row.targets[i] = token;
      row.document_starts[i] = 0;
    }
  }
  const std::int64_t noise_at_;
};

// Documents of 3 to 8 tokens of a language, of which each learns what follows from its third on; `per_row` of them in a row.
class Documents final : public data::Sequences {
 public:
  explicit Documents(std::int64_t per_row) : per_row_(per_row) {}
  bool packed() const override { return true; }
  void training(std::int64_t step, std::int64_t index, const data::Row& row) override { fill(step, index, row); }
  std::int64_t evaluation_count(std::int64_t) override { return 20 / per_row_; }
  void evaluation(std::int64_t index, const data::Row& row) override { fill(1000, index, row); }

 private:
  void fill(std::int64_t step, std::int64_t index, const data::Row& row) const {
    std::size_t at = 0;
    for (std::int64_t document = index * per_row_; document < (index + 1) * per_row_; ++document) {
      SeededRandom random(static_cast<std::uint64_t>(step * 1000 + document));
      const std::size_t start = at, size = 3 + random.below(6);
      std::int32_t token = static_cast<std::int32_t>(random.below(50));
      for (; at < start + size; ++at) {
        row.tokens[at] = token;
        token = (token * 3 + 1) % 50;
        row.targets[at] = at < start + 2 ? tensor::kNoTarget : token;
        row.document_starts[at] = static_cast<std::int32_t>(start);
      }
    }
    for (; at < row.tokens.size(); ++at) {
      row.tokens[at] = 0;
      row.targets[at] = tensor::kNoTarget;
      row.document_starts[at] = static_cast<std::int32_t>(at);
    }
  }
  const std::int64_t per_row_;
};

// Ranks of which one computes something that is no number, at the updates that are named (from 1).
class Poisoned final : public parallel::Collectives {
 public:
  Poisoned(parallel::Collectives& real, std::vector<std::int64_t> steps) : real_(real), steps_(std::move(steps)) {}
  int rank() const override { return real_.rank(); }
  int size() const override { return real_.size(); }
  void all_reduce_sum(std::span<float> buffer) override {
    // The gradients are one bucket here; a few sums follow.
    if (buffer.size() > 100 && std::count(steps_.begin(), steps_.end(), ++reduced_) > 0 && rank() == size() - 1) {
      buffer[7] = NAN;
    }
    real_.all_reduce_sum(buffer);
  }
  void broadcast(std::span<std::byte> buffer, int root) override { real_.broadcast(buffer, root); }
  void barrier() override { real_.barrier(); }

 private:
  parallel::Collectives& real_;
  const std::vector<std::int64_t> steps_;
  std::int64_t reduced_ = 0;
};

struct Report {
  std::vector<double> losses;  // by step, of rank 0
  std::vector<std::pair<std::int64_t, double>> evaluations;
  std::vector<std::int64_t> held_out;  // that the last evaluation drew, of rank 0
  std::vector<std::string> checkpoints;
  std::vector<std::int64_t> skipped;                             // steps
  std::vector<std::pair<std::int64_t, std::int64_t>> rollbacks;  // from, to
  Outcome outcome = Outcome::kFinished;
  std::vector<float> parameters;
  TrainState state;
};

// Tells of every sequence as it is drawn.
class Watched final : public data::Sequences {
 public:
  Watched(data::Sequences& inner, std::function<void(std::int64_t step, std::int64_t index)> drawn,
          std::function<void(std::int64_t index)> held_out_drawn)
      : inner_(inner), drawn_(std::move(drawn)), held_out_drawn_(std::move(held_out_drawn)) {}
  void training(std::int64_t step, std::int64_t index, const data::Row& row) override {
    drawn_(step, index);
    inner_.training(step, index, row);
  }
  bool packed() const override { return inner_.packed(); }
  std::int64_t evaluation_count(std::int64_t length) override { return inner_.evaluation_count(length); }
  void evaluation(std::int64_t index, const data::Row& row) override {
    held_out_drawn_(index);
    inner_.evaluation(index, row);
  }

 private:
  data::Sequences& inner_;
  const std::function<void(std::int64_t, std::int64_t)> drawn_;
  const std::function<void(std::int64_t)> held_out_drawn_;
};

struct Circumstances {
  int ranks = 1;
  // As if by a signal while this sequence of this step is drawn. The last of a step's 7 sequences is in a micro-batch that has
  // no other after it.
  std::int64_t stop_at = 0, stop_index = 6;
  // Or while this held-out sequence of the evaluation after this step is drawn.
  std::int64_t stop_after = -1, stop_held_out = 0;
  std::function<std::unique_ptr<data::Sequences>()> sequences = [] { return std::make_unique<Language>(); };
  std::vector<std::int64_t> poisoned;  // updates
};

// One run from what its checkpoint folder holds.
Report run(const TrainOptions& options, const Circumstances& with) {
  Report result;
  parallel::ThreadGroup(with.ranks).run([&](parallel::Collectives& group) {
    Poisoned collectives(group, with.poisoned);
    tensor::Context context(1);
    const auto sequences = with.sequences();
    SystemFiles files;
    SystemClock clock;
    std::atomic<bool> stop = false;
    std::int64_t drawn_step = 0;
    std::vector<std::int64_t> held_out;
    Watched watched(
        *sequences,
        [&](std::int64_t step, std::int64_t index) {
          stop = stop || (step == with.stop_at && index == with.stop_index);
          drawn_step = step;
          held_out.clear();
        },
        [&](std::int64_t index) {
          stop = stop || (drawn_step == with.stop_after && index == with.stop_held_out);
          held_out.push_back(index);
        });
    LanguageModeling objective(watched, options);
    Trainer trainer(small_config(), options, context, collectives, objective, files, clock);
    if (!trainer.resume()) trainer.initialize();
    Events events;
    const bool reports = collectives.rank() == 0;
    events.on_step = [&](const Progress& progress) {
      if (reports) result.losses.push_back(progress.loss);
      if (reports && progress.skipped) result.skipped.push_back(progress.step);
    };
    if (reports) {
      events.on_evaluation = [&](const Evaluation& e) { result.evaluations.emplace_back(e.step, e.loss); };
      events.on_rollback = [&](const Rollback& news) { result.rollbacks.emplace_back(news.from_step, news.to_step); };
    }
    events.on_checkpoint = [&](const std::string& name, std::int64_t) {
      EXPECT_TRUE(reports);
      result.checkpoints.push_back(name);
    };
    const Outcome outcome = trainer.run(stop, events);
    if (reports) {
      result.outcome = outcome;
      result.held_out = held_out;
      result.state = trainer.state();
      for (const model::ParameterInfo& info : trainer.parameters().layout().all()) {
        std::vector<float> values(static_cast<std::size_t>(info.count));
        trainer.parameters().get(info, 0, values);
        result.parameters.insert(result.parameters.end(), values.begin(), values.end());
      }
    }
  });
  return result;
}

Report run(const TrainOptions& options, int ranks = 1, std::int64_t stop_at = 0, std::int64_t stop_index = 6) {
  return run(options, Circumstances{.ranks = ranks, .stop_at = stop_at, .stop_index = stop_index});
}

void expect_near(const std::vector<double>& some, const std::vector<double>& others, double tolerance) {
  ASSERT_EQ(some.size(), others.size());
  for (std::size_t i = 0; i < some.size(); ++i) EXPECT_NEAR(some[i], others[i], tolerance) << "step " << i + 1;
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

// Every way to store and to optimize.
std::vector<TrainOptions> kinds() {
  std::vector<TrainOptions> all;
  for (const char* dtype : {"float32", "bfloat16"}) {
    for (const char* optimizer : {"adamw", "adamw8", "muon"}) {
      all.push_back(small_options());
      all.back().dtype = dtype;
      all.back().optimizer = optimizer;
    }
  }
  return all;
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

TEST(Trainer, OfEveryKindRanksAndMicroBatchesChangeRoundingOnly) {
  for (const TrainOptions& kind : kinds()) {
    SCOPED_TRACE(kind.dtype + " " + kind.optimizer);
    const Report one = run(kind);
    for (const auto& [ranks, micro_batch] : {std::pair{2, 7}, {3, 1}, {3, 3}}) {
      TrainOptions options = kind;
      options.micro_batch = micro_batch;
      const Report other = run(options, ranks);
      // 8 bits of a bfloat16, in activations and in the parameters that are computed with; a code of 8 bits that falls to the
      // other side of its limit.
      const bool exact = kind.dtype == "float32" && kind.optimizer != "adamw8";
      expect_near(other.losses, one.losses, exact ? 2e-4 : 0.05);
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

TEST(Trainer, AStepThatIsNotFiniteChangesNothingOnAnyRank) {
  const TrainOptions options = small_options();
  const Report whole = run(options);
  for (const int ranks : {2, 3}) {
    const Report skipping = run(options, Circumstances{.ranks = ranks, .poisoned = {3, 6, 7}});
    EXPECT_THAT(skipping.skipped, ElementsAre(3, 6, 7));
    EXPECT_EQ(skipping.losses.size(), 12U);
    EXPECT_EQ(skipping.state.step, 12);
    EXPECT_EQ(skipping.state.skipped_steps, 3);
    EXPECT_EQ(skipping.state.skipped_in_a_row, 0);
    for (const float value : skipping.parameters) ASSERT_TRUE(std::isfinite(value));
    EXPECT_NEAR(skipping.losses[2], whole.losses[2], 2e-5);
    EXPECT_NE(skipping.losses[3], whole.losses[3]);
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
