// How fast this machine is: what training steps and their operators are measured by.
#pragma once

#include "common/clock.h"
#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::llm {

// Of as many as fit into `long_s`, on all threads of the context.
struct Rate {
  double best = 0;  // what the machine can do, and what others are measured by
  double mean = 0;  // what it does for long: what a run may expect
};

// These take memory: measure that before.

// Floating-point operations a second of a large product of matrices of `type`, into float32.
Rate product_rate(tensor::Context& context, tensor::DType type, const Clock& clock, double long_s);

// Bytes a second of a = b + 3 · c on arrays that no cache holds, as STREAM's triad counts them (McCalpin 1995): those of the
// three arrays, although most processors also read `a` before they write it. So a loop that reads more than it writes, or writes
// where it has read, may be a little faster than this.
Rate triad_rate(tensor::Context& context, const Clock& clock, double long_s);

}  // namespace athanor::llm
