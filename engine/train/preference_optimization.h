// To prefer the better of two answers: direct preference optimisation (dpo.h). An example is a pair, two rows of the decoder's
// batch, chosen and rejected; the loss is the mean over the pairs of a step.
//
// The rows of a micro-batch are little longer than its longest answer, and the reference's log-probabilities are known beforehand
// (references.h), so that a pair costs a forward and a backward pass of its two answers and no more.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/data/preference_sequences.h"
#include "engine/train/batch.h"
#include "engine/train/dpo.h"
#include "engine/train/objective.h"
#include "engine/train/options.h"
#include "engine/train/references.h"

namespace athanor::train {

class PreferenceOptimization final : public Objective {
 public:
  // `held_out` may be null: then there is no evaluation. Both must outlive it. Throws kInvalid, naming the option.
  PreferenceOptimization(const data::PreferenceSequences& training, const data::PreferenceSequences* held_out,
                         const TrainOptions& options, const DpoOptions& dpo);

  std::int64_t rows() const override { return 2; }
  std::int64_t terms_max() const override { return 1; }
  void plan(const model::Config& config, std::int64_t examples, tensor::MemoryPlan& plan) override;
  bool prepare(model::Decoder& decoder, std::int64_t examples, parallel::Collectives& collectives,
               const std::atomic<bool>& stop, const Prepared& prepared) override;
  void add_state(TrainTensors& tensors) const override;
  Cost forward_backward(model::Decoder& decoder, const MicroBatch& batch, float scale,
                        const model::DropoutMasks& masks) override;
  std::int64_t evaluation_count() override { return held_out_count_; }
  Cost evaluate(model::Decoder& decoder, std::int64_t first, std::int64_t count) override;

 private:
  // Makes the batch of these pairs; returns how many tokens it has.
  std::int64_t fill(const data::PreferenceSequences& from, std::span<const std::int64_t> pairs);
  // The log-probabilities of the batch's answers.
  void judge(model::Decoder& decoder, std::span<double> log_probabilities) const;
  using Judged = std::function<void(std::size_t pairs)>;
  References::Judge judge_of(const data::PreferenceSequences& from, model::Decoder& decoder, const Judged& judged);

  const data::PreferenceSequences& training_;
  const data::PreferenceSequences* const held_out_;
  const std::int64_t length_;
  const std::int64_t held_out_count_;  // of those that an evaluation takes
  const DpoOptions dpo_;
  const std::string description_;  // of the pairs: those that the references belong to
  std::optional<Batch> batch_;
  std::optional<References> references_;
  std::optional<References> held_out_references_;
};

}  // namespace athanor::train
