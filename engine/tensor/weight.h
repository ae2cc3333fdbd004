// The weight of a linear layer (out, in): a matrix of numbers, or one of blocks. A view, as both are.
#pragma once

#include "engine/tensor/quantized.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

class Weight {
 public:
  Weight() = default;
  Weight(const Tensor& dense) : dense_(dense) {}
  Weight(const Quantized& blocks) : blocks_(blocks) {}

  explicit operator bool() const { return dense_ || blocks_; }
  bool quantized() const { return static_cast<bool>(blocks_); }
  std::int64_t dim(int i) const { return quantized() ? blocks_.dim(i) : dense_.dim(i); }
  const Tensor& dense() const { return dense_; }
  const Quantized& blocks() const { return blocks_; }

 private:
  Tensor dense_;
  Quantized blocks_;
};

// y = x · Wᵀ: x (N, in), y (N, out).
inline void matmul_transposed(Context& context, const Tensor& x, const Weight& w, const Tensor& y,
                              Into into = Into::kReplace) {
  if (w.quantized()) return matmul_transposed(context, x, w.blocks(), y, into);
  matmul(context, x, w.dense().transposed(), y, into);
}

// dx = or += dy · W: dy (N, out), dx (N, in).
inline void matmul(Context& context, const Tensor& dy, const Weight& w, const Tensor& dx, Into into = Into::kReplace) {
  if (w.quantized()) return matmul(context, dy, w.blocks(), dx, into);
  matmul(context, dy, w.dense(), dx, into);
}

}  // namespace athanor::tensor
