// The root-mean-square norm of each head by itself, as Qwen3 has it on queries and keys. Within a head of size D:
//
//   r = 1 / sqrt(mean(x²) + eps)
//   y = x · r · gain                      one gain for all heads
//
// Backward, with g = gain · dy (r is computed anew: it costs less than to keep it):
//   dx    = r · g − x · r³ · mean(g · x)
//   dgain = sum over rows and heads of dy · x · r
#pragma once

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

// x, y (N, H·D), whose rows may be parts of wider ones; gain (D). `y` may be `x`.
void head_norm_forward(Context& context, const Tensor& x, const Tensor& gain, float eps, const Tensor& y);

// `dx` (N, H·D) enters as dy. Adds to d_gain (D), if given. `partial` (threads, D) is scratch.
void head_norm_backward(Context& context, const Tensor& x, const Tensor& gain, float eps, const Tensor& dx,
                        const Tensor& d_gain, const Tensor& partial);

}  // namespace athanor::tensor
