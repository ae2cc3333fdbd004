#include "engine/tensor/bfloat16.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace athanor::tensor {
namespace {

TEST(BFloat16, RoundsToTheNearestAndTiesToEven) {
  const struct {
    std::uint32_t given;
    std::uint16_t expected;
  } cases[] = {
      {0x00000000, 0x0000}, {0x80000000, 0x8000}, {0x3F800000, 0x3F80},  // 0, -0, 1
      {0x3F807FFF, 0x3F80}, {0x3F808000, 0x3F80}, {0x3F808001, 0x3F81},  // below, at and above half, from even
      {0x3F817FFF, 0x3F81}, {0x3F818000, 0x3F82}, {0xBF818000, 0xBF82},  // and from odd
      {0x00000001, 0x0000}, {0x00018000, 0x0002}, {0x007FFFFF, 0x0080},  // subnormals
      {0x7F7F7FFF, 0x7F7F}, {0x7F7F8000, 0x7F80}, {0x7F7FFFFF, 0x7F80},  // the largest, and what rounds to infinity
      {0x7F800000, 0x7F80}, {0xFF800000, 0xFF80},                        // infinities
  };
  for (const auto& [given, expected] : cases) EXPECT_EQ(BFloat16(std::bit_cast<float>(given)).bits, expected) << given;
}

TEST(BFloat16, KeepsNaNAndGoesBackExactly) {
  for (const std::uint32_t nan : {0x7F800001U, 0x7FC00000U, 0x7FFFFFFFU, 0xFFFFFFFFU}) {
    EXPECT_TRUE(std::isnan(static_cast<float>(BFloat16(std::bit_cast<float>(nan)))));
  }
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto back = static_cast<float>(std::bit_cast<BFloat16>(static_cast<std::uint16_t>(bits)));
    if (std::isnan(back)) continue;
    EXPECT_EQ(BFloat16(back).bits, bits);
  }
}

}  // namespace
}  // namespace athanor::tensor
