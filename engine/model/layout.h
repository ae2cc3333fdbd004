// Named tensors in one flat buffer: parameters, and whatever has a number for each of them (gradients, moments).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tensor/tensor.h"

namespace athanor::model {

struct ParameterInfo {
  std::string name;                 // "model.layers.0.self_attn.q_proj.weight"
  std::vector<std::int64_t> shape;  // (out, in) or (C)
  std::int64_t offset = 0;          // in elements of the flat buffer
  std::int64_t count = 0;
  bool decays = false;  // weight decay is for matrices
};

class Layout {
 public:
  std::int64_t size() const { return size_; }  // elements of the flat buffer, padding included
  std::span<const ParameterInfo> all() const { return all_; }
  // Throws kNotFound.
  const ParameterInfo& find(std::string_view name) const;
  // The named part of a flat buffer of this layout.
  tensor::Tensor view(const tensor::Tensor& flat, const ParameterInfo& info) const;

 protected:
  const ParameterInfo& add(const std::string& name, std::vector<std::int64_t> shape);
  // What is added next begins on a 64-byte boundary.
  void align();

 private:
  std::vector<ParameterInfo> all_;
  std::int64_t size_ = 0;
};

// What begins `offset` elements into a flat buffer.
tensor::Tensor part_of(const tensor::Tensor& flat, std::int64_t offset, std::span<const std::int64_t> shape);

// FNV-1a: a number for a name, the same everywhere.
std::uint64_t hash_of(std::string_view name);

}  // namespace athanor::model
