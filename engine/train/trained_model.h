// The model of a training run, and what of it is trained: all of its parameters, or low-rank adapters on frozen weights
// (TrainOptions::lora_rank).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/model/adapters.h"
#include "engine/model/base.h"
#include "engine/model/model_source.h"
#include "engine/model/parameters.h"
#include "engine/model/weights.h"
#include "engine/tensor/context.h"
#include "engine/tensor/memory_plan.h"
#include "engine/train/options.h"

namespace athanor::train {

class TrainedModel {
 public:
  // Plans its memory, with gradients of the given type; those of a whole model are made anew in each backward pass, when
  // `gradients_anew`, those of adapters always added to. Usable once the plan is allocated; one thread. Throws kInvalid.
  TrainedModel(const model::Config& config, const TrainOptions& options, tensor::DType gradients, bool gradients_anew,
               tensor::MemoryPlan& plan);

  model::Weights weights() const;
  model::FlatParameters& trained();

  // Whether a backward pass replaces the gradients (model::ParameterTypes).
  bool gradients_anew() const { return whole_ && whole_->gradients_anew(); }
  // Null when adapters are trained.
  model::Parameters* whole() { return whole_ ? &*whole_ : nullptr; }
  // Null when all is trained.
  model::Base* base() { return base_ ? &*base_ : nullptr; }
  model::Adapters* adapters() { return adapters_ ? &*adapters_ : nullptr; }

  // All buffers that load() fills.
  std::vector<tensor::Tensor> loaded() const;

  // New numbers from a seed. Frozen weights too.
  void initialize(tensor::Context& context, std::uint64_t seed);
  // The numbers of a checkpoint. Adapters are new.
  void load(tensor::Context& context, model::ModelSource& source, std::uint64_t seed);

 private:
  std::optional<model::Parameters> whole_;
  std::optional<model::Base> base_;
  std::optional<model::Adapters> adapters_;
};

}  // namespace athanor::train
