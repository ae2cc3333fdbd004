#include "engine/model/weights.h"

namespace athanor::model {

bool Weights::trained() const {
  return parameters_ ? parameters_->with_gradients() : adapters_ != nullptr && adapters_->with_gradients();
}

std::optional<tensor::DType> Weights::gradients() const {
  if (parameters_ && parameters_->with_gradients()) return parameters_->gradients().type();
  return {};
}

LayerWeights Weights::layer(std::int64_t layer) const {
  LayerWeights w;
  if (parameters_) {
    const LayerViews views = parameters_->layout().layer(parameters_->values(), layer);
    const LayerViews d =
        parameters_->with_gradients() ? parameters_->layout().layer(parameters_->gradients(), layer) : LayerViews{};
    w = {.norm1 = views.norm1,
         .bias = views.bias,
         .q_norm = views.q_norm,
         .k_norm = views.k_norm,
         .norm2 = views.norm2,
         .qkv = {views.qkv, d.qkv, {}},
         .o = {views.o, d.o, {}},
         .gate_up = {views.gate_up, d.gate_up, {}},
         .down = {views.down, d.down, {}},
         .d_norm1 = d.norm1,
         .d_bias = d.bias,
         .d_q_norm = d.q_norm,
         .d_k_norm = d.k_norm,
         .d_norm2 = d.norm2};
    return w;
  }
  const BaseLayer base = base_->layer(layer);
  w.norm1 = base.norm1;
  w.bias = base.bias;
  w.q_norm = base.q_norm;
  w.k_norm = base.k_norm;
  w.norm2 = base.norm2;
  const LayerLoras loras = adapters_ ? adapters_->layer(layer) : LayerLoras{};
  w.qkv = {base.qkv, {}, loras.qkv};
  w.o = {base.o, {}, loras.o};
  w.gate_up = {base.gate_up, {}, loras.gate_up};
  w.down = {base.down, {}, loras.down};
  return w;
}

OuterWeights Weights::outer() const {
  if (!parameters_) return {base_->embedding(), base_->norm(), base_->head(), {}, {}, {}};
  const OuterViews views = parameters_->layout().outer(parameters_->values());
  const OuterViews d =
      parameters_->with_gradients() ? parameters_->layout().outer(parameters_->gradients()) : OuterViews{};
  return {views.embedding, views.norm, views.head, d.embedding, d.norm, d.head};
}

}  // namespace athanor::model
