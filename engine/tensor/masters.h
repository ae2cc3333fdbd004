// Parameters under training. Updates are far smaller than a bfloat16's last digit, so training keeps each parameter as a
// float32, its master. In bfloat16 the master is not kept beside the parameter: an int16 remainder completes it, and the
// two are 4 bytes, not 6.
//
//   bits of the master = (bits of the bfloat16 · 2¹⁶) + remainder     as integers modulo 2³²; −2¹⁵ ≤ remainder < 2¹⁵
//
// So the bfloat16 is the master rounded to the nearest, and a tie goes away from zero (to even it would need +2¹⁵ too).
// Every float32 comes back bit by bit.
#pragma once

#include "engine/tensor/tensor.h"

namespace athanor::tensor {

// Contiguous. float32 alone, or bfloat16 with as many int16.
struct Masters {
  Masters(const Tensor& values, const Tensor& remainders = {}) : values(values), remainders(remainders) {}
  Tensor values;
  Tensor remainders;
};

// Between masters and float32 as it is, for loading and saving.
void split_masters(const Tensor& floats, const Masters& masters);
void join_masters(const Masters& masters, const Tensor& floats);

}  // namespace athanor::tensor
