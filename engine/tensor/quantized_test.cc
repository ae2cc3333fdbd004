#include "engine/tensor/quantized.h"

#include <gtest/gtest.h>

#include <limits>

#include "engine/tensor/half.h"
#include "engine/tensor/test_support.h"

namespace athanor::tensor {
namespace {

constexpr BlockType kTypes[] = {BlockType::kBF16, BlockType::kQ8_0, BlockType::kQ4_0, BlockType::kQ4_1};

// A matrix of random blocks, and what its numbers are by the header's table.
struct Blocks {
  Blocks(BlockType type, std::int64_t rows, std::int64_t columns, std::uint64_t seed)
      : memory(static_cast<std::size_t>(rows * columns / 32 * block_bytes(type))),
        view(type, rows, columns, memory.data()),
        numbers(static_cast<std::size_t>(rows * columns)) {
    SeededRandom random(seed);
    for (std::uint8_t& byte : memory) byte = static_cast<std::uint8_t>(256 * random.uniform());
    const auto half = [](std::uint8_t* at, double value) {
      const std::uint16_t bits = half_from_float(static_cast<float>(value));
      at[0] = static_cast<std::uint8_t>(bits);
      at[1] = static_cast<std::uint8_t>(bits >> 8);
      return static_cast<double>(float_from_half(bits));
    };
    for (std::int64_t b = 0; b < rows * columns / 32; ++b) {
      std::uint8_t* block = memory.data() + b * block_bytes(type);
      double* into = numbers.data() + b * 32;
      if (type == BlockType::kBF16) {
        for (int i = 0; i < 32; ++i) {
          const BFloat16 value(static_cast<float>(2 * random.uniform() - 1));
          block[2 * i] = static_cast<std::uint8_t>(value.bits);
          block[2 * i + 1] = static_cast<std::uint8_t>(value.bits >> 8);
          into[i] = value;
        }
        continue;
      }
      const double d = half(block, (2 * random.uniform() - 1) * (type == BlockType::kQ8_0 ? 0.01 : 0.1));
      const double m = type == BlockType::kQ4_1 ? half(block + 2, random.uniform() - 0.5) : 0;
      for (int i = 0; i < 32; ++i) {
        if (type == BlockType::kQ8_0) {
          into[i] = static_cast<std::int8_t>(block[2 + i]) * d;
          continue;
        }
        const std::uint8_t byte = block[block_bytes(type) - 16 + i % 16];
        into[i] = ((i < 16 ? byte & 15 : byte >> 4) - (type == BlockType::kQ4_0 ? 8 : 0)) * d + m;
      }
    }
  }
  double at(std::int64_t row, std::int64_t column) const {
    return numbers[static_cast<std::size_t>(row * view.dim(1) + column)];
  }

  std::vector<std::uint8_t> memory;
  Quantized view;
  std::vector<double> numbers;
};

TEST(Half, EveryOneComesBack) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = float_from_half(half);
    if ((half & 0x7fff) > 0x7c00) {
      EXPECT_TRUE(std::isnan(value) && std::isnan(float_from_half(half_from_float(value))));
    } else {
      EXPECT_EQ(half_from_float(value), half);
    }
  }
  EXPECT_EQ(float_from_half(0x3c00), 1.0F);
  EXPECT_EQ(float_from_half(0x0001), 0x1p-24F);
  EXPECT_EQ(float_from_half(0x7bff), kHalfMax);
}

TEST(Half, RoundsToTheNearestTiesToEven) {
  const std::pair<float, float> cases[] = {{1 + 0x1p-11F, 1},
                                           {1 + 0x3p-11F, 1 + 0x1p-9F},
                                           {1 + 0x1.1p-11F, 1 + 0x1p-10F},
                                           {0x1p-25F, 0},
                                           {0x1.8p-24F, 0x1p-23F},
                                           {65519, kHalfMax},
                                           {65520, std::numeric_limits<float>::infinity()}};
  for (const auto& [value, expected] : cases) {
    EXPECT_EQ(float_from_half(half_from_float(value)), expected) << value;
    EXPECT_EQ(float_from_half(half_from_float(-value)), -expected) << value;
  }
}

TEST(Quantized, NumbersAreWhatTheTableSays) {
  Context context(2);
  for (const BlockType type : kTypes) {
    const Blocks w(type, 37, 96, 1);
    for (const DType into : {DType::kFloat32, DType::kBFloat16}) {
      Owned all(into, {37, 96});
      dequantize(context, w.view, all);
      EXPECT_LT(relative_error(all, w.numbers), into == DType::kFloat32 ? 1e-7 : 0x1p-8) << name_of(type);
    }
    std::vector<float> flat(w.numbers.size());
    dequantize(type, w.memory, flat);
    for (std::size_t i = 0; i < flat.size(); ++i) EXPECT_NEAR(flat[i], w.numbers[i], 1e-6);
  }
}

// y = x · Wᵀ and dx = dy · W, from one row to more than a panel of columns; in every type, on one thread and several,
// replacing and adding.
TEST(Quantized, ProductsAgreeWithFloat64) {
  struct Case {
    std::int64_t rows, in, out;
  };
  for (const int threads : {1, 3}) {
    Context context(threads);
    for (const BlockType type : kTypes) {
      for (const Case& shape :
           {Case{1, 32, 7}, Case{1, 96, 200}, Case{3, 320, 65}, Case{4, 64, 64}, Case{5, 64, 70}, Case{67, 128, 130}}) {
        const Blocks w(type, shape.out, shape.in, 2);
        for (int how = 0; how < 8; ++how) {
          const DType from = how & 1 ? DType::kBFloat16 : DType::kFloat32,
                      to = how & 2 ? DType::kBFloat16 : DType::kFloat32;
          const Into into = how & 4 ? Into::kAdd : Into::kReplace;
          const double tolerance = from == DType::kBFloat16 || to == DType::kBFloat16 ? kTolerance16 : kTolerance;
          Owned x(from, {shape.rows, shape.in}), y(to, {shape.rows, shape.out});
          x.random(3);
          y.random(4);
          std::vector<double> expected = y.doubles();
          for (std::int64_t n = 0; n < shape.rows; ++n) {
            for (std::int64_t o = 0; o < shape.out; ++o) {
              double sum = into == Into::kAdd ? y[n * shape.out + o] : 0;
              for (std::int64_t i = 0; i < shape.in; ++i) sum += static_cast<double>(x[n * shape.in + i]) * w.at(o, i);
              expected[static_cast<std::size_t>(n * shape.out + o)] = sum;
            }
          }
          matmul_transposed(context, x, w.view, y, into);
          EXPECT_LT(relative_error(y, expected), tolerance) << name_of(type) << " forward " << shape.rows << " " << how;

          Owned dy(from, {shape.rows, shape.out}), dx(to, {shape.rows, shape.in});
          dy.random(5);
          dx.random(6);
          expected = dx.doubles();
          for (std::int64_t n = 0; n < shape.rows; ++n) {
            for (std::int64_t i = 0; i < shape.in; ++i) {
              double sum = into == Into::kAdd ? dx[n * shape.in + i] : 0;
              for (std::int64_t o = 0; o < shape.out; ++o) {
                sum += static_cast<double>(dy[n * shape.out + o]) * w.at(o, i);
              }
              expected[static_cast<std::size_t>(n * shape.in + i)] = sum;
            }
          }
          matmul(context, dy, w.view, dx, into);
          EXPECT_LT(relative_error(dx, expected), tolerance)
              << name_of(type) << " backward " << shape.rows << " " << how;
        }
      }
    }
  }
}

// More columns than a panel has: a row of 2^15 numbers leaves room for 32 in float32.
TEST(Quantized, ProductsGoBeyondAPanel) {
  Context context(1);
  const Blocks w(BlockType::kQ4_0, 150, 1 << 15, 1);
  Owned x{6, 1 << 15}, y{6, 150};
  x.random(2);
  matmul_transposed(context, x, w.view, y);
  std::vector<double> expected;
  for (std::int64_t n = 0; n < 6; ++n) {
    for (std::int64_t o = 0; o < 150; ++o) {
      double sum = 0;
      for (std::int64_t i = 0; i < 1 << 15; ++i) sum += static_cast<double>(x[n * (1 << 15) + i]) * w.at(o, i);
      expected.push_back(sum);
    }
  }
  EXPECT_LT(relative_error(y, expected), kTolerance);
}

TEST(Quantized, WorksOnPartsOfWiderMatrices) {
  Context context(2);
  const Blocks w(BlockType::kQ8_0, 40, 64, 1);
  Owned wide{9, 100}, result{9, 120}, exact{9, 64}, y{9, 40};
  wide.random(2);
  result.fill(5);
  for (std::int64_t n = 0; n < 9; ++n) {
    for (std::int64_t i = 0; i < 64; ++i) exact.set(n * 64 + i, wide[n * 100 + 20 + i]);
  }
  matmul_transposed(context, wide.view().columns(20, 84), w.view, result.view().columns(10, 50));
  matmul_transposed(context, exact, w.view, y);
  for (std::int64_t n = 0; n < 9; ++n) {
    // Products may sum in another order where rows lie further apart.
    for (std::int64_t o = 0; o < 40; ++o) EXPECT_NEAR(result[n * 120 + 10 + o], y[n * 40 + o], 1e-5);
    EXPECT_EQ(result[n * 120 + 9], 5.0F);
    EXPECT_EQ(result[n * 120 + 50], 5.0F);
  }
}

// Normal numbers come back with the error that the type's grid allows: half a step at most in Q8_0; in Q4_0 as little as
// NF4's 0.087 with as many bits.
TEST(Quantized, QuantizesToTheNearest) {
  Context context(2);
  constexpr std::int64_t kRows = 64, kColumns = 256;
  Owned w{kRows, kColumns}, back{kRows, kColumns};
  SeededRandom random(7);
  for (std::int64_t i = 0; i < kRows * kColumns; ++i) {
    const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
    w.set(i, static_cast<float>(0.02 * radius * std::cos(6.283185307179586 * random.uniform())));
  }
  for (const auto& [type, error] :
       {std::pair{BlockType::kBF16, 0.002}, std::pair{BlockType::kQ8_0, 0.006}, std::pair{BlockType::kQ4_0, 0.084}}) {
    std::vector<std::uint8_t> memory(static_cast<std::size_t>(kRows * kColumns / 32 * block_bytes(type)));
    const Quantized blocks(type, kRows, kColumns, memory.data());
    quantize(context, w, blocks);
    dequantize(context, blocks, back);
    EXPECT_LT(relative_error(back, w.doubles()), error) << name_of(type);
    EXPECT_GT(relative_error(back, w.doubles()), error / 2) << name_of(type);
    // What is on the grid stays.
    const std::vector<std::uint8_t> once = memory;
    const std::vector<double> numbers = back.doubles();
    quantize(context, back, blocks);
    dequantize(context, blocks, back);
    EXPECT_LT(relative_error(back, numbers), 1e-3) << name_of(type);
  }
}

TEST(Quantized, QuantizesZerosAndRefusesWhatItCannotHold) {
  Context context(1);
  for (const BlockType type : {BlockType::kQ8_0, BlockType::kQ4_0}) {
    Owned w{1, 64}, back{1, 64};
    std::vector<std::uint8_t> memory(static_cast<std::size_t>(2 * block_bytes(type)));
    const Quantized blocks(type, 1, 64, memory.data());
    w.fill(0);
    w.set(40, -1e-30F);
    quantize(context, w, blocks);
    dequantize(context, blocks, back);
    for (std::int64_t i = 0; i < 64; ++i) EXPECT_EQ(back[i], 0.0F);
    for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -1e8F}) {
      w.set(40, value);
      EXPECT_THROW(quantize(context, w, blocks), Error) << value;
    }
  }
}

}  // namespace
}  // namespace athanor::tensor
