// Rotary position embedding (Su et al. 2021) in Hugging Face's layout: within a head of size D, element i is paired
// with i + D/2 and the pair is turned by the angle position · f[i], where f[i] = theta^(−2i/D) unless it is scaled.
//
//   a' = a · cos − b · sin
//   b' = b · cos + a · sin
//
// Backward turns by the opposite angle.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

// How a model that was trained on `original_length` positions is stretched to `factor` times as many. With the wavelength
// w = 2π / f[i], in positions:
//   kLinear   f[i] / factor                                                   (Chen et al. 2023)
//   kLlama3   f[i] where w < original_length / high_frequency, f[i] / factor where w > original_length / low_frequency,
//             between them a blend that is linear in original_length / w      (Llama 3.1)
//   kYarn     f[i] for the pairs that turn more than beta_fast times within original_length, f[i] / factor for those that
//             turn less than beta_slow times, a blend linear in i between; cos and sin times `attention`
//                                                                             (Peng et al. 2023)
struct RopeScaling {
  enum class Kind : std::uint8_t { kNone, kLinear, kLlama3, kYarn };
  Kind kind = Kind::kNone;
  double factor = 1;
  double original_length = 0;
  double low_frequency = 1, high_frequency = 4;  // kLlama3
  double beta_fast = 32, beta_slow = 1;          // kYarn
  double attention = 1;                          // kYarn

  bool operator==(const RopeScaling&) const = default;
};

// f (D/2).
std::vector<double> rope_frequencies(double theta, std::int64_t head_dim, const RopeScaling& scaling = {});

// Fills cos and sin, both (T, D/2), for positions 0 to T−1.
void rope_table(double theta, const Tensor& cos, const Tensor& sin, const RopeScaling& scaling = {});

enum class Turn { kForward, kBackward };

// In place on x (N, H·D), float32 or bfloat16, whose rows may be a part of wider ones. Row n stands at position first + n mod T, where T is
// `length`; `head_dim` is D.
void rope(Context& context, const Tensor& x, std::int64_t head_dim, std::int64_t length, std::int64_t first,
          const Tensor& cos, const Tensor& sin, Turn turn);

}  // namespace athanor::tensor
