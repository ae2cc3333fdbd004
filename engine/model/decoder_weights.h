// A decoder's weights as generation reads them: matrices as they are stored, vectors as float32.
//
// ParameterWeights takes them where training has them, float32 or bfloat16. PackedWeights takes them from a model's files and keeps them as
// small as they were there: bfloat16 and half precision as they are (float32 too, where every number is a bfloat16), GGUF's
// 4-bit blocks as kNibbles, its 6- and 8-bit ones as kBytes. Nothing is rounded.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/config.h"
#include "engine/model/model_source.h"
#include "engine/model/parameters.h"
#include "engine/tensor/memory_plan.h"
#include "engine/tensor/stored_matrix.h"

namespace athanor::model {

// A layer's, in the words of LayerViews. Matrices that stand beside each other are one product.
struct StoredLayer {
  tensor::Tensor norm1;
  std::vector<tensor::StoredMatrix> qkv;
  tensor::Tensor bias, q_norm, k_norm;  // or none
  std::vector<tensor::StoredMatrix> o;
  tensor::Tensor norm2;
  std::vector<tensor::StoredMatrix> gate_up;
  std::vector<tensor::StoredMatrix> down;
};

struct StoredOuter {
  tensor::StoredMatrix embedding;
  tensor::Tensor norm;
  std::vector<tensor::StoredMatrix> head;
};

class DecoderWeights {
 public:
  virtual ~DecoderWeights() = default;
  virtual const Config& config() const = 0;
  // Good once the memory that they lie in is allocated.
  virtual StoredLayer layer(std::int64_t layer) const = 0;
  virtual StoredOuter outer() const = 0;
};

class ParameterWeights final : public DecoderWeights {
 public:
  // `parameters` must outlive it; what matrices are when a product is made counts, and what vectors are when they are asked for.
  explicit ParameterWeights(const Parameters& parameters) : parameters_(parameters) {}
  const Config& config() const override { return parameters_.config(); }
  StoredLayer layer(std::int64_t layer) const override;
  StoredOuter outer() const override;

 private:
  // A vector of either type, as float32.
  tensor::Tensor widened(const tensor::Tensor& vector) const;

  const Parameters& parameters_;
  mutable std::list<std::vector<float>> widened_;  // of bfloat16 vectors, which are small
};

class PackedWeights final : public DecoderWeights {
 public:
  // Plans the memory; how each matrix is kept follows from what `source` says of it. `source` must outlive load().
  PackedWeights(ModelSource& source, tensor::MemoryPlan& plan);
  // Once the plan is allocated. Throws as ModelSource::read() does.
  void load();

  const Config& config() const override { return config_; }
  StoredLayer layer(std::int64_t layer) const override;
  StoredOuter outer() const override;

 private:
  struct Entry {
    ParameterInfo info;
    tensor::StoredMatrix matrix;  // its data is set by load(); of a vector, only rows
    const tensor::Tensor* memory;
  };
  const Entry& find(std::string_view name) const;
  tensor::Tensor vector(const std::string& name) const;
  tensor::StoredMatrix matrix(const std::string& name) const;

  ModelSource& source_;
  const Config config_;
  std::vector<Entry>
      entries_;  // in the order of a ParameterLayout; vectors that are one product's lie in the first's memory
  std::map<std::string, std::size_t, std::less<>> by_name_;
};

}  // namespace athanor::model
