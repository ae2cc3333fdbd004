// The weights of a model that is not trained itself: what adapters stand on. Matrices are float32, bfloat16, or in blocks of 8
// or 4 bits (tensor/quantized.h); norms and biases are of the activations' type.
//
//   Base base(config, {BaseType::kQ4_0, DType::kFloat32}, plan);  plan.allocate(…);  base.load(context, *open_model(files, path));
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "engine/model/config.h"
#include "engine/model/model_source.h"
#include "engine/model/parameters.h"
#include "engine/tensor/context.h"
#include "engine/tensor/memory_plan.h"
#include "engine/tensor/weight.h"

namespace athanor::model {

enum class BaseType : std::uint8_t { kFloat32, kBFloat16, kQ8_0, kQ4_0 };

// "float32", "bfloat16", "q8_0", "q4_0". Throws kInvalid.
BaseType base_type_from(std::string_view text);
const char* name_of(BaseType type);

struct BaseTypes {
  BaseType matrices = BaseType::kFloat32;
  tensor::DType activations = tensor::DType::kFloat32;  // or bfloat16; matrices are not float32 then
};

// A layer's weights, as the products take them; the names are those of LayerViews.
struct BaseLayer {
  tensor::Tensor norm1, bias, q_norm, k_norm, norm2;
  tensor::Weight qkv, o, gate_up, down;
};

class Base {
 public:
  // Plans the memory. In 8 and 4 bits the embedding and a head of its own are bfloat16: one is only looked up, the other
  // decides between near words. Throws kInvalid when the types do not go together or blocks do not fit the model's rows.
  Base(const Config& config, const BaseTypes& types, tensor::MemoryPlan& plan);

  const Config& config() const { return config_; }
  BaseType type() const { return types_.matrices; }
  tensor::DType activations() const { return types_.activations; }

  // Fills everything, a tensor at a time.
  void load(tensor::Context& context, ModelSource& source);
  void load(tensor::Context& context, const std::function<void(const ParameterInfo&, std::span<float>)>& read);

  // All planned memory.
  std::vector<tensor::Tensor> buffers() const;

  BaseLayer layer(std::int64_t layer) const;
  tensor::Weight embedding() const;  // (V, C)
  tensor::Weight head() const;       // (V, C), the embedding when tied
  tensor::Tensor norm() const { return *norm_; }

  // A parameter's place, by Hugging Face's name. Throws kNotFound.
  tensor::Weight find(std::string_view name) const;

 private:
  // A planned matrix: numbers, or the bytes of blocks.
  struct Matrix {
    const tensor::Tensor* memory = nullptr;
    std::int64_t rows = 0, columns = 0;
  };
  struct Layer {
    const tensor::Tensor *norm1, *bias, *q_norm, *k_norm, *norm2;
    Matrix qkv, o, gate_up, down;
  };
  tensor::Weight view(const Matrix& matrix, BaseType type) const;
  // Whether matrices of this type are numbers that products take as they are.
  bool is_dense(BaseType type) const;
  BaseType outer_type() const { return type() == BaseType::kFloat32 ? BaseType::kFloat32 : BaseType::kBFloat16; }

  const Config config_;
  const BaseTypes types_;
  Matrix embedding_, head_;
  const tensor::Tensor* norm_;  // (C)
  std::vector<Layer> layers_;
};

}  // namespace athanor::model
