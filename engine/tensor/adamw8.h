// AdamW with moments of 8 bits (Dettmers, Lewis, Shleifer and Zettlemoyer 2022): 2 bytes a parameter instead of 8.
//
// Blocks of 256 parameters have a scale for each moment, its largest magnitude in the block. A moment divided by it is
// stored as the nearest of 256 codes, finer for smaller magnitudes ("dynamic"): 0, 1, and in each decade i of 0 … 6
//
//   10^(i−6) · (0.1 + 0.9 · (j + 1/2) / n)      0 ≤ j < n = 2^i     for m, of either sign
//                                                         2^(i+1)   for v, which is never negative
//
// What is stored is the code's rank among the 256. A step decodes a block, does AdamW's arithmetic on it in float32 (engine/tensor/adamw.h) and encodes it again.
#pragma once

#include "engine/tensor/adamw.h"

namespace athanor::tensor {

inline constexpr std::int64_t kMoments8Block = 256;

// For `count` parameters: m, v (count) uint8; scales (ceil(count / 256)) float32. Codes of the moments at the start, zero:
// clear_moments8 sets them.
struct Moments8 {
  Tensor m, v;
  Tensor m_scale, v_scale;
};

void clear_moments8(Context& context, const Moments8& moments);

void adamw8(Context& context, const AdamW& how, const Masters& parameters, const Tensor& gradients,
            const Moments8& moments);

}  // namespace athanor::tensor
