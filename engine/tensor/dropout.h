// Dropout (Srivastava et al. 2014) whose mask is computed, never stored: it is a function of a key, the row's number and
// the column, so that the backward pass finds it again, and it is the same on any number of threads and in any cut into
// micro-batches.
//
//   forward    y = x ∘ mask / (1 − rate)       mask[n][c] is 0 with probability `rate`, else 1
//   backward   dx += dy ∘ mask / (1 − rate)
#pragma once

#include <cstdint>

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

struct Dropout {
  float rate = 0;              // in [0, 1)
  std::uint64_t key = 0;       // another for each use: of the seed, the step, the place in the model
  std::int64_t first_row = 0;  // the number of row 0
  // Above 0: rows are sequences of so many, whose numbers begin `stride` apart, so that a sequence's mask is
  // the same however long the rows of its batch are. Else rows are numbered one by one.
  std::int64_t length = 0;
  std::int64_t stride = 0;

  std::int64_t number_of(std::int64_t row) const {
    return first_row + (length > 0 ? row / length * stride + row % length : row);
  }
};

// x, y (N, C) of one type, float32 or bfloat16.
void dropout_forward(Context& context, const Dropout& how, const Tensor& x, const Tensor& y);
void dropout_backward(Context& context, const Dropout& how, const Tensor& dy, const Tensor& dx);

}  // namespace athanor::tensor
