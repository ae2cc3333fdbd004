// AdamW on float32 and on bfloat16 with remainders, with moments of 32 and of 8 bits, against float64.
#include "engine/tensor/adamw.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/tensor/adamw8.h"
#include "engine/tensor/test_support.h"

namespace athanor::tensor {
namespace {

using Doubles = std::vector<double>;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

// Parameters and their moments in float64, and a step.
struct Reference {
  Doubles p, m, v;

  explicit Reference(const Doubles& start) : p(start), m(start.size()), v(start.size()) {}

  void step(const AdamW& how, const Owned& gradients) {
    const double t = static_cast<double>(how.step);
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double g = gradients[static_cast<std::int64_t>(i)] * how.gradient_scale;
      m[i] = how.beta1 * m[i] + (1 - how.beta1) * g;
      v[i] = how.beta2 * v[i] + (1 - how.beta2) * g * g;
      p[i] -= how.rate * how.weight_decay * p[i];
      p[i] -=
          how.rate * (m[i] / (1 - std::pow(how.beta1, t))) / (std::sqrt(v[i] / (1 - std::pow(how.beta2, t))) + how.eps);
    }
  }
};

struct Case {
  DType parameters, gradients;
};
constexpr Case kCases[] = {{DType::kFloat32, DType::kFloat32},
                           {DType::kFloat32, DType::kBFloat16},
                           {DType::kBFloat16, DType::kFloat32},
                           {DType::kBFloat16, DType::kBFloat16}};

// Owned masters that begin with the same values, as float32 or as bfloat16 and remainder.
struct OwnedMasters {
  Owned values, remainders;

  OwnedMasters(DType type, const Owned& start)
      : values(type, {start.view().count()}), remainders(DType::kInt16, {start.view().count()}) {
    split_masters(start, view());
  }
  Masters view() const { return {values, remainders}; }
};

TEST(Masters, AnyFloatComesBackAndTheBFloat16IsItRounded) {
  std::vector<std::uint32_t> bits;
  for (const std::uint32_t high : {0U, 1U, 0x3F80U, 0x3F81U, 0x7F7FU, 0x8000U, 0xBF80U, 0xFF7FU, 0x7F80U, 0x7FC0U}) {
    for (const std::uint32_t low : {0U, 1U, 0x7FFFU, 0x8000U, 0x8001U, 0xFFFFU}) bits.push_back(high << 16 | low);
  }
  SeededRandom random(1);
  while (bits.size() < 10'000) bits.push_back(static_cast<std::uint32_t>(random.uniform() * 4294967296.0));
  const auto count = static_cast<std::int64_t>(bits.size());
  Owned floats{count}, back{count};
  std::memcpy(floats.view().data(), bits.data(), bits.size() * sizeof bits[0]);
  const OwnedMasters masters(DType::kBFloat16, floats);
  join_masters(masters.view(), back);
  EXPECT_EQ(std::memcmp(back.view().data(), bits.data(), bits.size() * sizeof bits[0]), 0);
  for (std::int64_t i = 0; i < count; ++i) {
    const double x = floats[i], rounded = masters.values[i];
    if (std::isfinite(x) && std::isfinite(rounded) && std::abs(x) > 1e-37) {
      EXPECT_LE(std::abs(rounded - x), std::ldexp(std::abs(x), -8)) << x;
    }
  }
}

TEST(AdamW, FollowsTheFormulaForManySteps) {
  Context context(2);
  const std::int64_t count = 10'007;
  for (const Case& types : kCases) {
    Owned start{count}, g(types.gradients, {count}), m{count}, v{count}, p{count};
    start.random(1);
    const OwnedMasters masters(types.parameters, start);
    Reference reference(start.doubles());
    AdamW how{.rate = 1e-2, .weight_decay = 0.1};
    for (how.step = 1; how.step <= 20; ++how.step) {
      g.random(100 + static_cast<std::uint64_t>(how.step), 0.3);
      how.gradient_scale = how.step % 2 ? 1 : 0.5;
      reference.step(how, g);
      adamw(context, how, masters.view(), g, m, v);
    }
    join_masters(masters.view(), p);
    EXPECT_LT(relative_error(p, reference.p), kTolerance);  // the master is a float32 whatever the parameters are
    EXPECT_LT(relative_error(m, reference.m), kTolerance);
    EXPECT_LT(relative_error(v, reference.v), kTolerance);
    EXPECT_LT(relative_error(masters.values, reference.p), tolerance_of(types.parameters));
  }
}

TEST(AdamW, UpdatesThatABFloat16CannotShowAddUp) {
  Context context(1);
  Owned start{1}, g{1}, m{1}, v{1};
  start.fill(1);
  g.fill(1);
  const OwnedMasters masters(DType::kBFloat16, start);
  AdamW how{.rate = 1e-5};  // a bfloat16 at 1 has steps of 0.0039 downwards
  for (how.step = 1; how.step <= 1000; ++how.step) adamw(context, how, masters.view(), g, m, v);
  EXPECT_NEAR(masters.values[0], 0.99, 0.002);
}

// All 256 codes of a moment, by rank.
Doubles codes_of(bool with_sign) {
  Doubles codes{0, 1};
  for (int decade = 0; decade < 7; ++decade) {
    const int parts = 1 << (with_sign ? decade : decade + 1);
    for (int part = 0; part < parts; ++part) {
      const double value = std::pow(10, decade - 6) * (0.1 + 0.9 * (part + 0.5) / parts);
      codes.push_back(value);
      if (with_sign) codes.push_back(-value);
    }
  }
  std::ranges::sort(codes);
  return codes;
}

void expect_nearest(const Doubles& codes, const Owned& stored, const Owned& scales, const Doubles& moments) {
  ASSERT_EQ(codes.size(), 256U);
  for (std::int64_t i = 0; i < stored.view().count(); ++i) {
    const double scale = scales[i / kMoments8Block], moment = moments[at(i)];
    double best = INFINITY;
    for (const double code : codes) best = std::min(best, std::abs(code * scale - moment));
    // Of two codes that are equally near but for rounding, either is right.
    EXPECT_LE(std::abs(codes[stored.view().u8()[i]] * scale - moment), best + 1e-7 * std::abs(moment)) << moment;
  }
}

TEST(AdamW8, KeepsTheNearestOfTheDynamicCodes) {
  Context context(2);
  const std::int64_t count = 5 * kMoments8Block + 77;
  Owned p{count}, g{count}, m_scale{6}, v_scale{6}, m(DType::kUInt8, {count}), v(DType::kUInt8, {count});
  clear_moments8(context, {m, v, m_scale, v_scale});
  SeededRandom random(3);
  for (std::int64_t i = 0; i < count; ++i) {
    const double size = 3 * std::pow(10, -8 * random.uniform());
    g.set(i, static_cast<float>((random.uniform() < 0.5 ? -1 : 1) * size));
  }
  for (std::int64_t i = 2 * kMoments8Block; i < 3 * kMoments8Block; ++i) g.set(i, 0);  // a block with nothing
  Doubles squares;
  for (const double gradient : g.doubles()) squares.push_back(gradient * gradient / 2);
  // With beta 0 the moment is the gradient; with 1/2, half its square.
  adamw8(context, {.rate = 1, .beta1 = 0, .beta2 = 0.5}, p.view(), g, {m, v, m_scale, v_scale});
  expect_nearest(codes_of(true), m, m_scale, g.doubles());
  expect_nearest(codes_of(false), v, v_scale, squares);
}

TEST(AdamW8, StaysCloseToAdamWOverManySteps) {
  Context context(2);
  const std::int64_t count = 3001;
  for (const Case& types : kCases) {
    Owned start{count}, g(types.gradients, {count}), p{count};
    Owned m(DType::kUInt8, {count}), v(DType::kUInt8, {count}), m_scale{12}, v_scale{12};
    const Moments8 moments{m, v, m_scale, v_scale};
    clear_moments8(context, moments);
    start.random(1);
    const OwnedMasters masters(types.parameters, start);
    Reference reference(start.doubles());
    AdamW how{.rate = 1e-3, .weight_decay = 0.1};
    for (how.step = 1; how.step <= 50; ++how.step) {
      g.random(100 + static_cast<std::uint64_t>(how.step), 0.3);
      reference.step(how, g);
      adamw8(context, how, masters.view(), g, moments);
    }
    join_masters(masters.view(), p);
    // The way that the parameters went, not where they are: 5% off, of which quantisation is all.
    Doubles gone = p.doubles(), expected = reference.p;
    double difference = 0, norm = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      difference += std::pow(gone[at(i)] - expected[at(i)], 2);
      norm += std::pow(expected[at(i)] - start[i], 2);
    }
    EXPECT_LT(std::sqrt(difference / norm), 0.05);
  }
}

TEST(SquaredNorm, IsExactEnoughAndTheSameOnAnyNumberOfThreads) {
  for (const DType type : {DType::kFloat32, DType::kBFloat16}) {
    for (const std::int64_t count : {0, 1, 255, 256, 257, 1'000'003}) {
      Owned x(type, {count});
      x.random(9);
      double expected = 0;
      for (const double value : x.doubles()) expected += value * value;
      Context one(1), three(3);
      const double first = squared_norm(one, x);
      EXPECT_NEAR(first, expected, 1e-9 * expected);
      EXPECT_EQ(first, squared_norm(three, x));
    }
  }
}

}  // namespace
}  // namespace athanor::tensor
