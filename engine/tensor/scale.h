// x = x · factor
#pragma once

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

// In place on x (N, C), float32 or bfloat16, whose rows may be parts of wider ones.
void scale(Context& context, float factor, const Tensor& x);

}  // namespace athanor::tensor
