// Small training runs: languages to learn, and one call that runs a trainer in given circumstances and reports what it did.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <memory>

#include "common/clock.h"
#include "common/files.h"
#include "common/random.h"
#include "engine/parallel/thread_group.h"
#include "engine/tensor/cross_entropy.h"
#include "engine/train/language_modeling.h"
#include "engine/train/small_model_test_support.h"
#include "engine/train/trainer.h"

namespace athanor::train {

inline TrainOptions small_options() {
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
inline Report run(const TrainOptions& options, const Circumstances& with) {
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

inline Report run(const TrainOptions& options, int ranks = 1, std::int64_t stop_at = 0, std::int64_t stop_index = 6) {
  return run(options, Circumstances{.ranks = ranks, .stop_at = stop_at, .stop_index = stop_index});
}

inline void expect_near(const std::vector<double>& some, const std::vector<double>& others, double tolerance) {
  ASSERT_EQ(some.size(), others.size());
  for (std::size_t i = 0; i < some.size(); ++i) EXPECT_NEAR(some[i], others[i], tolerance) << "step " << i + 1;
}

// Every way to store and to optimize.
inline std::vector<TrainOptions> kinds() {
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

// Whether dividing it over ranks changes no more than float32's rounding. Else there are the 8 bits of a bfloat16, in activations and
// in the parameters that are computed with, or a code of 8 bits that falls to the other side of its limit.
inline bool exact(const TrainOptions& kind) { return kind.dtype == "float32" && kind.optimizer != "adamw8"; }

}  // namespace athanor::train
