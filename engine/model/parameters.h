// A decoder's parameters: one flat buffer, with named views by Hugging Face's names.
//
// The order is that of the forward pass. q, k and v of a layer follow each other without a gap, as do their biases, and
// gate and up, so that each group is one matrix product; every group starts on a 64-byte boundary (the padding between
// stays zero).
// Gradients and optimizer moments are buffers of the same layout: summing, sharding and saving them needs no names.
//
// Values are float32 or bfloat16. Under training, values of bfloat16 are the upper halves of masters (tensor/masters.h).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/config.h"
#include "engine/tensor/masters.h"
#include "engine/tensor/memory_plan.h"
#include "engine/tensor/tensor.h"

namespace athanor::model {

struct ParameterInfo {
  std::string name;                 // "model.layers.0.self_attn.q_proj.weight"
  std::vector<std::int64_t> shape;  // (out, in) or (C)
  std::int64_t offset = 0;          // in elements of the flat buffer
  std::int64_t count = 0;
  bool decays = false;  // weight decay is for matrices
};

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

class ParameterLayout {
 public:
  explicit ParameterLayout(const Config& config);

  std::int64_t size() const { return size_; }  // elements of the flat buffer, padding included
  std::span<const ParameterInfo> all() const { return all_; }
  // Throws kNotFound.
  const ParameterInfo& find(std::string_view name) const;
  // The named part of a flat buffer of this layout.
  tensor::Tensor view(const tensor::Tensor& flat, const ParameterInfo& info) const;
  LayerViews layer(const tensor::Tensor& flat, std::int64_t layer) const;
  OuterViews outer(const tensor::Tensor& flat) const;

 private:
  const ParameterInfo& add(const std::string& name, std::vector<std::int64_t> shape);
  void align();

  // Where a layer's groups start, in elements from its first; the same in all layers.
  struct LayerOffsets {
    std::int64_t norm1, qkv, bias, q_norm, k_norm, o, norm2, gate_up, down, end;
  };

  Config config_;
  std::int64_t layers_begin_ = 0;
  LayerOffsets offsets_{};
  std::vector<ParameterInfo> all_;
  std::int64_t size_ = 0;
};

struct ParameterTypes {
  tensor::DType values = tensor::DType::kFloat32;
  std::optional<tensor::DType> gradients;  // none: no gradients
  bool masters = false;                    // with values of bfloat16, also what completes them
};

class Parameters {
 public:
  // Plans the buffers. Usable once the plan is allocated.
  Parameters(const Config& config, const ParameterTypes& types, tensor::MemoryPlan& plan);

  const Config& config() const { return config_; }
  const ParameterLayout& layout() const { return layout_; }
  const tensor::Tensor& values() const { return *values_; }  // (size)
  const tensor::Tensor& gradients() const;                   // (size)
  tensor::DType type() const { return values_->type(); }
  // The values as they are trained.
  tensor::Masters masters() const { return {*values_, remainders_ ? *remainders_ : tensor::Tensor()}; }
  tensor::Tensor value(std::string_view name) const { return layout_.view(*values_, layout_.find(name)); }
  tensor::Tensor gradient(std::string_view name) const { return layout_.view(gradients(), layout_.find(name)); }

  // Elements of one parameter from `first` on, as float32: rounded to the nearest on the way in, if need be and there are no
  // masters; on the way out what the masters are, or the values.
  void set(const ParameterInfo& info, std::int64_t first, std::span<const float> from);
  void get(const ParameterInfo& info, std::int64_t first, std::span<float> into) const;

  // As Hugging Face does: matrices normal(0, initializer_range), biases zero, norms one. The same numbers on every machine and
  // for every number of ranks: each tensor has a stream of its own, made from the seed and its name.
  void initialize(std::uint64_t seed);

 private:
  Config config_;
  ParameterLayout layout_;
  const tensor::Tensor* values_;
  const tensor::Tensor* remainders_ = nullptr;  // of masters
  const tensor::Tensor* gradients_ = nullptr;
};

}  // namespace athanor::model
