#include "engine/train/trained_model.h"

namespace athanor::train {

TrainedModel::TrainedModel(const model::Config& config, const TrainOptions& options, tensor::DType gradients,
                           bool gradients_anew, tensor::MemoryPlan& plan) {
  const model::ParameterTypes types{.values = dtype_of(options.dtype),
                                    .gradients = gradients,
                                    .masters = true,
                                    .gradients_anew = gradients_anew};
  if (const auto lora = lora_of(options)) {
    base_.emplace(config, model::BaseTypes{base_type_of(options), types.values}, plan);
    adapters_.emplace(config, *lora, types, plan);
  } else {
    whole_.emplace(config, types, plan);
  }
}

model::Weights TrainedModel::weights() const {
  if (whole_) return *whole_;
  return {*base_, &*adapters_};
}

model::FlatParameters& TrainedModel::trained() {
  if (whole_) return *whole_;
  return *adapters_;
}

std::vector<tensor::Tensor> TrainedModel::loaded() const {
  std::vector<tensor::Tensor> all;
  if (base_) all = base_->buffers();
  const tensor::Masters masters = whole_ ? whole_->masters() : adapters_->masters();
  all.push_back(masters.values);
  if (masters.remainders) all.push_back(masters.remainders);
  return all;
}

void TrainedModel::initialize(tensor::Context& context, std::uint64_t seed) {
  if (whole_) return whole_->initialize(seed);
  base_->load(context, [&](const model::ParameterInfo& info, std::span<float> into) {
    model::InitialNumbers(base_->config(), info, seed).next(into);
  });
  adapters_->initialize(seed);
}

void TrainedModel::load(tensor::Context& context, model::ModelSource& source, std::uint64_t seed) {
  if (whole_) return source.load(*whole_);
  base_->load(context, source);
  adapters_->initialize(seed);
}

}  // namespace athanor::train
