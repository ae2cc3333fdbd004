// The gated activation of Llama's feed-forward part (Shazeer 2020).
//
//   y = silu(gate) · up,   silu(z) = z · σ(z)
//
// Backward:
//   d_gate = dy · up · σ(gate) · (1 + gate · (1 − σ(gate)))
//   d_up   = dy · silu(gate)
#pragma once

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

// All float32 or all bfloat16, computed in float32.

// gate_up (N, 2F): gate in the first F columns, up in the last; y (N, F).
void swiglu_forward(Context& context, const Tensor& gate_up, const Tensor& y);
// Replaces gate_up with its gradient.
void swiglu_backward(Context& context, const Tensor& gate_up, const Tensor& dy);

}  // namespace athanor::tensor
