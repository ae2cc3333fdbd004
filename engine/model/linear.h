// A linear layer of the decoder: a weight that is trained, or one that is frozen, dense or in blocks, perhaps with low-rank
// adapters beside it (LoRA: Hu et al. 2021; on a quantised weight QLoRA: Dettmers et al. 2023).
//
//   forward    u  = s · D(x) · Aᵀ               (N, R)     D: dropout; s: alpha / rank
//              y  = x · Wᵀ + u · Bᵀ             (N, out)
//   backward   dB += dyᵀ · u                    (out, r)
//              du = s · dy · B                  (N, R)
//              dA += duᵀ · D(x)                 (R, in)
//              dx = dy · W + D(du · A)          (N, in)
//              dW += dyᵀ · x                    only when W itself is trained
//
// Layers that take the same x are one product (q, k and v; gate and up). Their adapters are then parts of one: the A of
// all lie one below the other, so that u is one product too, and each part's B makes its own columns of y from its own
// columns of u. D drops the same elements of x for all parts.
#pragma once

#include <array>
#include <cstdint>

#include "engine/tensor/context.h"
#include "engine/tensor/dropout.h"
#include "engine/tensor/tensor.h"
#include "engine/tensor/weight.h"

namespace athanor::model {

struct LoraPart {
  tensor::Tensor b;                 // (end − begin, r)
  tensor::Tensor d_b;               // likewise, or none
  std::int64_t begin = 0, end = 0;  // columns of y
};

struct Lora {
  tensor::Tensor a;    // (R, in), R the sum of the parts' ranks; none: no adapters
  tensor::Tensor d_a;  // likewise, or none
  float scale = 1;
  int count = 0;
  std::array<LoraPart, 3> parts;
};

// Views for one call.
struct Linear {
  tensor::Weight weight;    // (out, in)
  tensor::Tensor d_weight;  // (out, in), or none when it is frozen
  Lora lora;
};

// What layers share; used within a call.
struct LinearScratch {
  tensor::Tensor dropped;  // (N or more, in or more) of x's type; only with dropout
  tensor::Tensor d_low;    // (N or more, R or more) of x's type; only for the backward pass
};

// x (N, in), y (N, out); low (N, R), which keeps u for the backward pass, is looked at only with adapters.
void linear_forward(tensor::Context& context, const Linear& layer, const tensor::Dropout& dropout,
                    const tensor::Tensor& x, const tensor::Tensor& y, const tensor::Tensor& low,
                    const LinearScratch& scratch);

// Replaces dx, if given, and adds to the gradients that the layer has.
void linear_backward(tensor::Context& context, const Linear& layer, const tensor::Dropout& dropout,
                     const tensor::Tensor& x, const tensor::Tensor& dy, const tensor::Tensor& dx,
                     const tensor::Tensor& low, const LinearScratch& scratch);

}  // namespace athanor::model
