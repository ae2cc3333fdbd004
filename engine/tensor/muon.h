// Muon (Jordan et al. 2024): momentum whose singular values are all made about 1, for the matrices inside a network.
//
//   g = gradient · gradient_scale
//   b = momentum · b + (1 − momentum) · g
//   u = orthogonalize(momentum · b + (1 − momentum) · g)          Nesterov's; orthogonalize.h
//   p = p − rate · decay · p − rate · 0.2 · sqrt(max(M, N)) · u
//
// The last factor gives an entry of the update the size that AdamW's have (Liu et al. 2025), so that one rate serves both.
#pragma once

#include <cstdint>

#include "engine/tensor/context.h"
#include "engine/tensor/masters.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

struct Muon {
  double rate = 0;
  double momentum = 0.95;
  double weight_decay = 0;
  double gradient_scale = 1;  // what clipping multiplies the gradient by
};

// Elements of scratch, of the parameters' type, that a matrix (rows, columns) needs.
std::int64_t muon_scratch(std::int64_t rows, std::int64_t columns);

// parameters and gradients (M, N), contiguous, of types as AdamW's; momentum (M, N) float32, zero before the first step.
// scratch (muon_scratch(M, N)).
void muon(Context& context, const Muon& how, const Masters& parameters, const Tensor& gradients, const Tensor& momentum,
          const Tensor& scratch);

}  // namespace athanor::tensor
