// What a decoder computes with: a model that is trained whole (Parameters), or a frozen one (Base), perhaps with adapters
// that are trained (Adapters). Gradients are none where nothing is trained. A view: what it is made of must outlive it.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/model/adapters.h"
#include "engine/model/base.h"
#include "engine/model/config.h"
#include "engine/model/linear.h"
#include "engine/model/parameters.h"

namespace athanor::model {

// A layer's, as the operators take them; the names are those of LayerViews.
struct LayerWeights {
  tensor::Tensor norm1, bias, q_norm, k_norm, norm2;
  Linear qkv, o, gate_up, down;
  tensor::Tensor d_norm1, d_bias, d_q_norm, d_k_norm, d_norm2;
};

// What surrounds the layers.
struct OuterWeights {
  tensor::Weight embedding;  // (V, C)
  tensor::Tensor norm;       // (C)
  tensor::Weight head;       // (V, C)
  tensor::Tensor d_embedding, d_norm, d_head;
};

class Weights {
 public:
  Weights(const Parameters& parameters) : parameters_(&parameters) {}
  Weights(const Base& base, const Adapters* adapters = nullptr) : base_(&base), adapters_(adapters) {}

  const Config& config() const { return parameters_ ? parameters_->config() : base_->config(); }
  // Of activations: float32 or bfloat16.
  tensor::DType type() const { return parameters_ ? parameters_->type() : base_->activations(); }
  // Whether there is anything to compute gradients for.
  bool trained() const;
  // Of the gradients of all weights; nothing when the weights are frozen.
  std::optional<tensor::DType> gradients() const;
  // The parameters whose gradients a backward pass replaces (ParameterTypes::gradients_anew), else null.
  const Parameters* gradients_anew() const {
    return parameters_ && parameters_->gradients_anew() ? parameters_ : nullptr;
  }
  // Null without adapters.
  const LoraOptions* lora() const { return adapters_ ? &adapters_->options() : nullptr; }

  // Once the plan is allocated.
  LayerWeights layer(std::int64_t layer) const;
  OuterWeights outer() const;

 private:
  const Parameters* parameters_ = nullptr;
  const Base* base_ = nullptr;
  const Adapters* adapters_ = nullptr;
};

}  // namespace athanor::model
