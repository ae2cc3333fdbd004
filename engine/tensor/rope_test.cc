#include "engine/tensor/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "engine/tensor/test_support.h"

namespace athanor::tensor {
namespace {

using Kind = RopeScaling::Kind;

TEST(RopeFrequencies, FallFromOneAsTheThetaSays) {
  const std::vector<double> plain = rope_frequencies(10000, 8);
  ASSERT_EQ(plain.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(plain[i], std::pow(10, -static_cast<double>(i)), 1e-15);
  const std::vector<double> linear = rope_frequencies(10000, 8, {.kind = Kind::kLinear, .factor = 4});
  for (std::size_t i = 0; i < 4; ++i) EXPECT_DOUBLE_EQ(linear[i], plain[i] / 4);
}

TEST(RopeFrequencies, Llama3KeepsFastPairsDividesSlowOnesAndBlendsBetween) {
  const RopeScaling scaling{.kind = Kind::kLlama3, .factor = 8, .original_length = 8192};
  const std::vector<double> plain = rope_frequencies(500000, 128), scaled = rope_frequencies(500000, 128, scaling);
  int kept = 0, divided = 0, between = 0;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    const double wavelength = 2 * std::numbers::pi / plain[i];
    if (wavelength < 8192.0 / 4) {
      EXPECT_DOUBLE_EQ(scaled[i], plain[i]);
      ++kept;
    } else if (wavelength > 8192) {
      EXPECT_DOUBLE_EQ(scaled[i], plain[i] / 8);
      ++divided;
    } else {
      EXPECT_LT(scaled[i], plain[i]);
      EXPECT_GT(scaled[i], plain[i] / 8);
      ++between;
    }
    if (i > 0) {
      EXPECT_LT(scaled[i], scaled[i - 1]);
    }
  }
  EXPECT_GT(kept, 20);
  EXPECT_GT(divided, 20);
  EXPECT_GT(between, 3);
}

TEST(RopeFrequencies, YarnKeepsFastPairsDividesSlowOnesAndBlendsBetween) {
  const RopeScaling scaling{.kind = Kind::kYarn, .factor = 4, .original_length = 32768};
  const std::vector<double> plain = rope_frequencies(1e6, 128), scaled = rope_frequencies(1e6, 128, scaling);
  for (std::size_t i = 0; i < plain.size(); ++i) {
    const double turns = 32768 * plain[i] / (2 * std::numbers::pi);
    if (turns > 40) {  // clear of the rounding to whole pairs
      EXPECT_DOUBLE_EQ(scaled[i], plain[i]);
    }
    if (turns < 0.8) {
      EXPECT_DOUBLE_EQ(scaled[i], plain[i] / 4);
    }
    EXPECT_LE(scaled[i], plain[i]);
    EXPECT_GE(scaled[i], plain[i] / 4);
  }
}

TEST(RopeTable, HoldsTheAnglesAndYarnsSize) {
  Owned cos{5, 4}, sin{5, 4};
  const RopeScaling scaling{.kind = Kind::kYarn, .factor = 4, .original_length = 100, .attention = 1.5};
  const std::vector<double> f = rope_frequencies(10000, 8, scaling);
  rope_table(10000, cos, sin, scaling);
  for (std::int64_t t = 0; t < 5; ++t) {
    for (std::int64_t i = 0; i < 4; ++i) {
      EXPECT_NEAR(cos[t * 4 + i], 1.5 * std::cos(static_cast<double>(t) * f[static_cast<std::size_t>(i)]), 1e-6);
      EXPECT_NEAR(sin[t * 4 + i], 1.5 * std::sin(static_cast<double>(t) * f[static_cast<std::size_t>(i)]), 1e-6);
    }
  }
}

}  // namespace
}  // namespace athanor::tensor
