#include "engine/train/language_modeling.h"

namespace athanor::train {

LanguageModeling::LanguageModeling(data::Sequences& sequences, const TrainOptions& options)
    : sequences_(sequences), length_(options.length), z_loss_(static_cast<float>(options.z_loss)) {}

void LanguageModeling::plan(const model::Config& config, std::int64_t examples, tensor::MemoryPlan& plan) {
  batch_.emplace(config.vocab_size, examples, length_, plan);
}

Cost LanguageModeling::forward_backward(model::Decoder& decoder, const MicroBatch& which, float scale,
                                        const model::DropoutMasks& masks) {
  Cost cost{.tokens = which.count * length_};
  batch_->begin(which.count, length_);
  for (std::int64_t i = 0; i < which.count; ++i) {
    sequences_.training(which.step, which.first + i, batch_->row(i));
    cost.terms += batch_->check(i);
  }
  cost.loss = decoder.forward_backward(batch_->tokens(), batch_->targets(), scale, starts(), masks, z_loss_);
  return cost;
}

Cost LanguageModeling::evaluate(model::Decoder& decoder, std::int64_t first, std::int64_t count) {
  Cost cost{.tokens = count * length_};
  batch_->begin(count, length_);
  for (std::int64_t i = 0; i < count; ++i) {
    sequences_.evaluation(first + i, batch_->row(i));
    cost.terms += batch_->check(i);
  }
  cost.loss = decoder.loss(batch_->tokens(), batch_->targets(), starts());
  return cost;
}

}  // namespace athanor::train
