// The language-model head and its loss, a chunk of rows at a time, so that the (N, V) logits never exist at once.
//
//   z    = x · Wᵀ                                 (rows of the chunk, V)
//   loss = sum over n of log(sum over v of exp z[n][v]) − z[n][target[n]]
//
// Backward, in the same pass while the chunk is in cache, with every row weighted by `scale`:
//   dz = (softmax(z) − onehot(target)) · scale
//   dx = dz · W
//   dW += dzᵀ · x
//
// A row whose target is kNoTarget counts nowhere.
#pragma once

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"
#include "engine/tensor/weight.h"

namespace athanor::tensor {

inline constexpr std::int32_t kNoTarget = -1;

// x (N, C) and weight (V, C), both float32 or both bfloat16; targets (N) int32; logits (R, V) is scratch, R ≥ 1 sets the
// chunk. Logits are float32, or bfloat16 where x is (half the scratch, and each logit rounded, as PyTorch does). Their
// gradient takes their place, in the type of x.
// Returns the sum of the losses, unscaled.
double cross_entropy_forward(Context& context, const Tensor& x, const Weight& weight, const Tensor& targets,
                             const Tensor& logits);

// Also replaces dx (N, C) and adds to d_weight (V, C), each float32 or bfloat16. A d_weight of bfloat16 is rounded once a
// chunk; or once in all, with `sums` (V, C) float32 as scratch.
double cross_entropy_forward_backward(Context& context, const Tensor& x, const Weight& weight, const Tensor& targets,
                                      float scale, const Tensor& logits, const Tensor& dx, const Tensor& d_weight,
                                      const Tensor& sums = {});

}  // namespace athanor::tensor
