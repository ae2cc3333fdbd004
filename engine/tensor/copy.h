// Elements as they are: cleared, or put elsewhere.
#pragma once

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

// x = 0: contiguous, of any type and shape, or a matrix whose rows may be parts of wider ones.
void clear(Context& context, const Tensor& x);

// to = from: matrices (N, C) of one type, whose rows may be parts of wider ones. They do not overlap.
void copy(Context& context, const Tensor& from, const Tensor& to);

}  // namespace athanor::tensor
