// The bias of a linear layer.
//
//   y = x + bias                          the same for all rows
//
// Backward: dx = dy, dbias = sum over rows of dy.
#pragma once

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

// In place on x (N, C), whose rows may be parts of wider ones; bias (C).
void bias_forward(Context& context, const Tensor& bias, const Tensor& x);

// Adds to d_bias (C).
void bias_backward(Context& context, const Tensor& dy, const Tensor& d_bias);

}  // namespace athanor::tensor
