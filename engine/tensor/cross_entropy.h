// The language-model head and its loss, a chunk of rows at a time, so that the (N, V) logits never exist at once.
//
//   z    = x · Wᵀ                                 (rows of the chunk, V)
//   lse  = log(sum over v of exp z[n][v])
//   loss = sum over n of lse[n] − z[n][target[n]] + ζ · lse[n]²
//
// Backward, in the same pass while the chunk is in cache, with every row weighted by w:
//   dz = ((1 + 2ζ · lse) · softmax(z) − onehot(target)) · w
//   dx = dz · W
//   dW += dzᵀ · x
//
// The term with ζ is z-loss, which keeps softmax's normaliser near 1 (PaLM, Chowdhery et al. 2022, section 5, with ζ = 1e-4);
// mostly ζ is 0.
//
// A row whose target is kNoTarget counts nowhere.
#pragma once

#include <span>

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"
#include "engine/tensor/weight.h"

namespace athanor::tensor {

inline constexpr std::int32_t kNoTarget = -1;

// What rows count in a gradient: all the same, or each of S equal parts of them (sequences) its own.
struct RowWeights {
  RowWeights(float all) : all(all) {}                                     // a number will do
  RowWeights(std::span<const float> sequences) : sequences(sequences) {}  // (S), S a divisor of N
  float all = 0;
  std::span<const float> sequences;
};

// x (N, C) and weight (V, C), both float32 or both bfloat16; targets (N) int32; logits (R, V) is scratch, R ≥ 1 sets the
// chunk. Logits are float32, or bfloat16 where x is (half the scratch, and each logit rounded, as PyTorch does). Their
// gradient takes their place, in the type of x.
// Returns the sum of the losses, unweighted, without ζ. `sequences` (S), if given, become the sums of each N / S rows.
double cross_entropy_forward(Context& context, const Tensor& x, const Weight& weight, const Tensor& targets,
                             const Tensor& logits, std::span<double> sequences = {});

// Also replaces dx (N, C) and adds to d_weight (V, C), each float32 or bfloat16. A d_weight of bfloat16 is rounded once a
// chunk; or once in all, with `sums` (V, C) float32 as scratch. `z_loss` is ζ.
double cross_entropy_forward_backward(Context& context, const Tensor& x, const Weight& weight, const Tensor& targets,
                                      const RowWeights& weights, const Tensor& logits, const Tensor& dx,
                                      const Tensor& d_weight, const Tensor& sums = {}, float z_loss = 0);

}  // namespace athanor::tensor
