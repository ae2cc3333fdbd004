// To predict the next token: pre-training and fine-tuning. The loss is the cross-entropy's mean over all targets of a step, with
// z-loss if it is wanted (tensor/cross_entropy.h); evaluations leave z-loss out, so that they tell of the text alone.
#pragma once

#include <optional>

#include "engine/data/sequences.h"
#include "engine/train/batch.h"
#include "engine/train/objective.h"
#include "engine/train/options.h"

namespace athanor::train {

class LanguageModeling final : public Objective {
 public:
  // `sequences` must outlive it.
  LanguageModeling(data::Sequences& sequences, const TrainOptions& options);

  std::int64_t rows() const override { return 1; }
  std::int64_t terms_max() const override { return length_; }
  void plan(const model::Config& config, std::int64_t examples, tensor::MemoryPlan& plan) override;
  Cost forward_backward(model::Decoder& decoder, const MicroBatch& batch, float scale,
                        const model::DropoutMasks& masks) override;
  std::int64_t evaluation_count() override { return sequences_.evaluation_count(length_); }
  Cost evaluate(model::Decoder& decoder, std::int64_t first, std::int64_t count) override;

 private:
  tensor::Tensor starts() const { return sequences_.packed() ? batch_->starts() : tensor::Tensor(); }

  data::Sequences& sequences_;
  const std::int64_t length_;
  const float z_loss_;
  std::optional<Batch> batch_;
};

}  // namespace athanor::train
