// IEEE 754's half precision: 1 sign, 5 exponent, 10 fraction bits. It only stores, as bfloat16 does. Conversion rounds to
// the nearest, ties to even; NaN stays NaN.
//
// Always inlined, for the reason that bfloat16.h gives.
#pragma once

#include <cstdint>

namespace athanor::tensor {

inline constexpr float kHalfMax = 65504;

[[gnu::always_inline]] inline float float_from_half(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000) << 16;
  const std::uint32_t rest = half & 0x7fff;
  if (rest >= 0x7c00) return __builtin_bit_cast(float, sign | 0x7f800000U | (rest & 0x3ff) << 13);
  // With a float's exponent bias, subnormals come right too.
  const float magnitude = __builtin_bit_cast(float, rest << 13) * 0x1p112F;
  return __builtin_bit_cast(float, sign | __builtin_bit_cast(std::uint32_t, magnitude));
}

[[gnu::always_inline]] inline std::uint16_t half_from_float(float value) {
  const auto bits = __builtin_bit_cast(std::uint32_t, value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
  const std::uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;  // what rounds to 65536 or more
  if (magnitude < 0x38800000) {  // below 2⁻¹⁴: adding 2⁻¹ leaves multiples of 2⁻²⁴ in the last bits
    const float shifted = __builtin_bit_cast(float, magnitude) + 0.5F;
    return sign | static_cast<std::uint16_t>(__builtin_bit_cast(std::uint32_t, shifted) - 0x3f000000);
  }
  const std::uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return sign | static_cast<std::uint16_t>((rounded - 0x38000000) >> 13);
}

}  // namespace athanor::tensor
