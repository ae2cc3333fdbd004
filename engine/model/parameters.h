// A decoder's parameters: one flat buffer, with named views by Hugging Face's names.
//
// The order is that of the forward pass. q, k and v of a layer follow each other without a gap, as do their biases, and
// gate and up, so that each group is one matrix product; every group starts on a 64-byte boundary (the padding between
// stays zero).
// Gradients and optimizer moments are buffers of the same layout: summing, sharding and saving them needs no names.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "common/random.h"
#include "engine/model/config.h"
#include "engine/model/flat_parameters.h"
#include "engine/model/layout.h"
#include "engine/tensor/memory_plan.h"
#include "engine/tensor/tensor.h"

namespace athanor::model {

// A layer's matrices in a flat buffer, as the products take them.
struct LayerViews {
  tensor::Tensor norm1;    // (C)
  tensor::Tensor qkv;      // ((H+2G)·D, C)
  tensor::Tensor bias;     // ((H+2G)·D), or none
  tensor::Tensor q_norm;   // (D), or none
  tensor::Tensor k_norm;   // (D), or none
  tensor::Tensor o;        // (C, H·D)
  tensor::Tensor norm2;    // (C)
  tensor::Tensor gate_up;  // (2F, C)
  tensor::Tensor down;     // (C, F)
};

// What surrounds the layers.
struct OuterViews {
  tensor::Tensor embedding;  // (V, C)
  tensor::Tensor norm;       // (C)
  tensor::Tensor head;       // (V, C), the embedding when tied
};

class ParameterLayout : public Layout {
 public:
  explicit ParameterLayout(const Config& config);

  LayerViews layer(const tensor::Tensor& flat, std::int64_t layer) const;
  OuterViews outer(const tensor::Tensor& flat) const;
  // All of a layer's, padding included; what comes before the first layer, and after the last.
  tensor::Tensor whole_layer(const tensor::Tensor& flat, std::int64_t layer) const;
  tensor::Tensor before_layers(const tensor::Tensor& flat) const;
  tensor::Tensor after_layers(const tensor::Tensor& flat) const;
  // For gradients that the backward pass makes anew: from which phase on (phases.h) each part of them is needed.
  std::vector<tensor::LivingPart> gradient_parts() const;

 private:
  // Where a layer's groups start, in elements from its first; the same in all layers.
  struct LayerOffsets {
    std::int64_t norm1, qkv, bias, q_norm, k_norm, o, norm2, gate_up, down, end;
  };

  Config config_;
  std::int64_t layers_begin_ = 0;
  LayerOffsets offsets_{};
};

class Parameters : public FlatParameters {
 public:
  Parameters(const Config& config, const ParameterTypes& types, tensor::MemoryPlan& plan);

  const Config& config() const { return config_; }
  const ParameterLayout& layout() const { return layout_; }
  bool gradients_anew() const { return gradients_anew_; }

  // As Hugging Face does: matrices normal(0, initializer_range), biases zero, norms one. The same numbers on every machine and
  // for every number of ranks: each tensor has a stream of its own, made from the seed and its name.
  void initialize(std::uint64_t seed);

 private:
  Config config_;
  ParameterLayout layout_;
  bool gradients_anew_;
};

// The numbers that Parameters::initialize gives to one parameter, in order. All spans but the last are of even size.
class InitialNumbers {
 public:
  InitialNumbers(const Config& config, const ParameterInfo& info, std::uint64_t seed);
  void next(std::span<float> into);

 private:
  SeededRandom random_;
  const double deviation_;
  const bool normal_;
  const float constant_;
};

}  // namespace athanor::model
