// Muon's update (Jordan et al. 2024): a matrix with the same singular vectors and all singular values near 1, by five
// steps of a Newton-Schulz iteration that needs nothing but products.
//
//   X = G / ‖G‖F
//   five times:  A = X · Xᵀ,  X = a · X + (b · A + c · A²) · X      a = 3.4445, b = −4.7750, c = 2.0315
//
// For a tall matrix the same with Xᵀ · X on the other side. Each singular value s becomes a·s + b·s³ + c·s⁵ in a step,
// which takes what is above 0.01 or so to between 0.7 and 1.2; more precision gains nothing in training.
#pragma once

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

inline constexpr int kOrthogonalizeSteps = 5;

// Elements of scratch, of x's type, that a matrix (rows, columns) needs.
std::int64_t orthogonalize_scratch(std::int64_t rows, std::int64_t columns);

// In place on x (M, N), contiguous, float32 or bfloat16. scratch (orthogonalize_scratch(M, N)). Zero stays zero.
void orthogonalize(Context& context, const Tensor& x, const Tensor& scratch);

}  // namespace athanor::tensor
