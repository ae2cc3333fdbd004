// Root-mean-square norm (Zhang and Sennrich 2019), alone or fused with the residual addition before it.
//
//   r = 1 / sqrt(mean(x²) + eps)          one a row
//   y = x · r · gain
//
// Backward, with g = gain · dy:
//   dx    = r · g − x · r³ · mean(g · x)
//   dgain = sum over rows of dy · x · r
#pragma once

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

// Matrices and gain are all float32 or all bfloat16, computed in float32; r and `partial` are float32, d_gain is either.

// x, y (N, C); gain (C); r (N), kept for backward.
void rmsnorm_forward(Context& context, const Tensor& x, const Tensor& gain, float eps, const Tensor& y,
                     const Tensor& r);

// sum = x + delta, then y = rmsnorm(sum as it is stored). All (N, C); `sum` may be `x`.
void add_rmsnorm_forward(Context& context, const Tensor& x, const Tensor& delta, const Tensor& gain, float eps,
                         const Tensor& sum, const Tensor& y, const Tensor& r);

// Adds to dx (N, C), which thus carries the gradient that goes past the norm, and to d_gain (C).
// `partial` (threads, C) is scratch.
void rmsnorm_backward(Context& context, const Tensor& x, const Tensor& gain, const Tensor& r, const Tensor& dy,
                      const Tensor& dx, const Tensor& d_gain, const Tensor& partial);

}  // namespace athanor::tensor
