// Rotary position embedding (Su et al. 2021) in Hugging Face's layout: within a head of size D, element i is paired
// with i + D/2 and the pair is turned by the angle position · theta^(−2i/D).
//
//   a' = a · cos − b · sin
//   b' = b · cos + a · sin
//
// Backward turns by the opposite angle.
#pragma once

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

// Fills cos and sin, both (T, D/2), for positions 0 to T−1.
void rope_table(double theta, const Tensor& cos, const Tensor& sin);

enum class Turn { kForward, kBackward };

// In place on x (N, H·D), float32 or bfloat16, whose rows may be a part of wider ones. Row n stands at position first + n mod T, where T is
// `length`; `head_dim` is D.
void rope(Context& context, const Tensor& x, std::int64_t head_dim, std::int64_t length, std::int64_t first,
          const Tensor& cos, const Tensor& sin, Turn turn);

}  // namespace athanor::tensor
