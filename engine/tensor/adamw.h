// AdamW (Loshchilov and Hutter 2019), as torch.optim.AdamW computes it, in one pass over memory.
//
//   g = gradient · gradient_scale
//   p = p − rate · decay · p
//   m = beta1 · m + (1 − beta1) · g
//   v = beta2 · v + (1 − beta2) · g²
//   p = p − rate · (m / (1 − beta1^t)) / (sqrt(v / (1 − beta2^t)) + eps)
#pragma once

#include <cstdint>

#include "engine/tensor/context.h"
#include "engine/tensor/masters.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

struct AdamW {
  double rate = 0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0;
  std::int64_t step = 1;      // t, from 1
  double gradient_scale = 1;  // what clipping multiplies the gradient by
};

// All of one shape, contiguous. Gradients are float32 or bfloat16, moments float32; p is the master.
void adamw(Context& context, const AdamW& how, const Masters& parameters, const Tensor& gradients, const Tensor& m,
           const Tensor& v);

// The sum of squares of a contiguous tensor, float32 or bfloat16. The same on any number of threads.
double squared_norm(Context& context, const Tensor& x);

}  // namespace athanor::tensor
