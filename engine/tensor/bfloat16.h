// bfloat16: the upper half of a float32 (sign, 8 bits of exponent, 7 of fraction). It only stores; sums and products are
// made in float32. Conversion rounds to the nearest, ties to even; NaN stays NaN, quiet.
//
// Always inlined: files that are compiled for newer processors use it too, and must leave no copy for others to call.
#pragma once

#include <cstdint>

namespace athanor::tensor {

struct BFloat16 {
  std::uint16_t bits;

  BFloat16() = default;
  [[gnu::always_inline]] explicit BFloat16(float value) {
    const auto whole = __builtin_bit_cast(std::uint32_t, value);
    const std::uint32_t rounded = whole + 0x7FFFU + ((whole >> 16) & 1U);
    const bool nan = (whole & 0x7FFFFFFFU) > 0x7F800000U;
    bits = static_cast<std::uint16_t>((nan ? whole | 0x400000U : rounded) >> 16);
  }
  [[gnu::always_inline]] operator float() const {
    return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16);
  }
};
static_assert(sizeof(BFloat16) == 2);

}  // namespace athanor::tensor
