// Matrix products.
//
//   C = A · B      or      C += A · B          A (M, K), B (K, N), C (M, N)
//
// Any of A and B may be a transposed view: a linear layer with weight W (out, in) is
//   forward         y  (N, out)  = x (N, in)   · Wᵀ
//   input gradient  dx (N, in)   = dy (N, out) · W
//   weight gradient dW (out, in) += dyᵀ · x
#pragma once

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

enum class Into { kReplace, kAdd };

// A and B are both float32 or both bfloat16; C is either. Sums are float32's whatever the types; C += adds in float32 and
// rounds once. Each matrix has unit stride in one of its two dimensions, C in its last.
void matmul(Context& context, const Tensor& a, const Tensor& b, const Tensor& c, Into into = Into::kReplace);

}  // namespace athanor::tensor
