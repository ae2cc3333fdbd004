// How fast this machine makes matrix products: what training steps are measured by.
#pragma once

#include "common/clock.h"
#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::llm {

// Floating-point operations a second of a large product of matrices of `type`, into float32; the best of as many as fit
// into `long_s`.
double product_rate(tensor::Context& context, tensor::DType type, const Clock& clock, double long_s);

}  // namespace athanor::llm
