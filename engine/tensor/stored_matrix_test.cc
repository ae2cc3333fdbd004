#include "engine/tensor/stored_matrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "engine/tensor/bfloat16.h"

namespace athanor::tensor {
namespace {

// Half precision of numbers that it has, without infinities.
std::uint16_t half_of(float value) {
  if (value == 0) return 0;
  int exponent = 0;
  const float fraction = std::frexp(std::abs(value), &exponent);  // [0.5, 1)
  const int sign = value < 0 ? 0x8000 : 0;
  if (exponent < -13) {
    return static_cast<std::uint16_t>(sign | static_cast<int>(std::lround(std::ldexp(fraction, exponent + 24))));
  }
  return static_cast<std::uint16_t>(sign + ((exponent + 14) << 10) + static_cast<int>(std::lround(fraction * 2048)) -
                                    1024);
}

struct Made {
  StoredMatrix matrix;
  std::vector<std::uint8_t> bytes;
  std::vector<float> values;  // (rows, columns)
};

struct Kind {
  Stored kind;
  bool wide;
  std::int64_t group;
};

Made make(const Kind& kind, std::int64_t rows, std::int64_t columns, std::mt19937& random) {
  std::normal_distribution<float> normal;
  Made made{.matrix = {kind.kind, kind.wide, kind.group, rows, columns}, .bytes = {}, .values = {}};
  const auto put = [&](auto value) {
    const auto* from = reinterpret_cast<const std::uint8_t*>(&value);
    made.bytes.insert(made.bytes.end(), from, from + sizeof value);
  };
  const auto scale = [&](float value) {  // puts it, and gives what was put
    if (kind.wide) return put(value), value;
    const float rounded = std::ldexp(std::round(std::ldexp(value, 11)), -11);
    put(half_of(rounded));
    return rounded;
  };
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::size_t at = made.values.size();
    made.values.resize(at + static_cast<std::size_t>(columns));
    float* value = made.values.data() + at;
    if (kind.kind == Stored::kFloat32 || kind.kind == Stored::kBFloat16 || kind.kind == Stored::kFloat16) {
      for (std::int64_t k = 0; k < columns; ++k) {
        value[k] = static_cast<float>(BFloat16(normal(random) * 0.1F));
        if (kind.kind == Stored::kFloat16) value[k] = std::ldexp(std::round(std::ldexp(value[k], 12)), -12);
        if (kind.kind == Stored::kFloat32) put(value[k]);
        if (kind.kind == Stored::kBFloat16) put(BFloat16(value[k]));
        if (kind.kind == Stored::kFloat16) put(half_of(value[k]));
      }
      continue;
    }
    std::vector<int> q;
    for (std::int64_t k = 0; k < columns; ++k) {
      q.push_back(kind.kind == Stored::kNibbles ? static_cast<int>(random() % 16)
                                                : static_cast<int>(random() % 256) - 128);
    }
    if (kind.kind == Stored::kNibbles) {
      for (std::int64_t b = 0; b < columns / 32; ++b) {
        for (std::int64_t j = 0; j < 16; ++j) {
          const auto k = static_cast<std::size_t>(32 * b + j);
          put(static_cast<std::uint8_t>(q[k] | q[k + 16] << 4));
        }
      }
    } else {
      for (const int one : q) put(static_cast<signed char>(one));
    }
    std::vector<float> s, m;
    for (std::int64_t g = 0; g < columns / kind.group; ++g) s.push_back(scale(0.02F * (1 + std::abs(normal(random)))));
    for (std::int64_t g = 0; g < columns / kind.group; ++g) {
      m.push_back(kind.kind == Stored::kNibbles ? scale(-0.2F + 0.1F * normal(random)) : 0);
    }
    for (std::int64_t k = 0; k < columns; ++k) {
      const auto g = static_cast<std::size_t>(k / kind.group);
      value[k] = static_cast<float>(q[static_cast<std::size_t>(k)]) * s[g] + m[g];
    }
  }
  made.matrix.data = made.bytes.data();
  return made;
}

class StoredMatrixTest : public testing::TestWithParam<Kind> {};

TEST_P(StoredMatrixTest, ProductsAreThoseOfTheNumbersInIt) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  Context context(2);
  for (const std::int64_t K : {32, 96, 320, 1536}) {
    const Made first = make(GetParam(), 37, K, random), second = make({Stored::kFloat32, false, 0}, 19, K, random);
    const StoredMatrix matrices[] = {first.matrix, second.matrix};
    for (const std::int64_t N : {1, 2, 3, 4, 7, 16, 17, 40}) {
      std::vector<float> x(static_cast<std::size_t>(N * K)), y(static_cast<std::size_t>(N * 56)),
          scratch(static_cast<std::size_t>(stored_scratch_floats(N, K, 2)));
      for (float& value : x) value = normal(random);
      std::fill_n(x.begin(), 32, 0.0F);  // a block of zeros
      x[40 % x.size()] = 300;            // and one that stands out
      stored_product(context, Tensor::of(x.data(), {N, K}), matrices, Tensor::of(y.data(), {N, 56}),
                     Tensor::of(scratch.data(), {static_cast<std::int64_t>(scratch.size())}));
      double error = 0, size = 0;
      for (std::int64_t n = 0; n < N; ++n) {
        for (std::int64_t r = 0; r < 56; ++r) {
          const float* row = r < 37 ? first.values.data() + r * K : second.values.data() + (r - 37) * K;
          double sum = 0;
          for (std::int64_t k = 0; k < K; ++k) {
            sum += static_cast<double>(row[k]) * static_cast<double>(x[static_cast<std::size_t>(n * K + k)]);
          }
          error += std::pow(sum - static_cast<double>(y[static_cast<std::size_t>(n * 56 + r)]), 2);
          size += sum * sum;
        }
      }
      EXPECT_LT(std::sqrt(error / size), 1e-6) << K << " " << N;
    }
  }
}

TEST_P(StoredMatrixTest, RowsAreTheNumbersInIt) {
  std::mt19937 random(2);
  const Made made = make(GetParam(), 5, 96, random);
  const std::vector<std::int32_t> rows = {4, 0, 1, 4, 2, 3};
  Context context(2);
  std::vector<float> x(rows.size() * 96);
  stored_rows(context, made.matrix, rows, Tensor::of(x.data(), {static_cast<std::int64_t>(rows.size()), 96}));
  for (std::size_t n = 0; n < rows.size(); ++n) {
    for (std::size_t k = 0; k < 96; ++k) {
      const float found = x[n * 96 + k], expected = made.values[static_cast<std::size_t>(rows[n]) * 96 + k];
      if (GetParam().kind == Stored::kNibbles) {
        EXPECT_NEAR(found, expected, 1e-7) << "q · s + m is rounded once, or twice";
      } else {
        EXPECT_EQ(found, expected);
      }
    }
  }
}

TEST_P(StoredMatrixTest, ARowOfXDoesNotDependOnItsNeighbours) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  Context context(1);
  const Made made = make(GetParam(), 40, 320, random);
  std::vector<float> x(16 * 320), together(16 * 40), alone(40),
      scratch(static_cast<std::size_t>(stored_scratch_floats(16, 320, 1)));
  for (float& value : x) value = normal(random);
  const Tensor room = Tensor::of(scratch.data(), {static_cast<std::int64_t>(scratch.size())});
  stored_product(context, Tensor::of(x.data(), {16, 320}), {&made.matrix, 1}, Tensor::of(together.data(), {16, 40}),
                 room);
  for (std::int64_t n = 0; n < 16; ++n) {
    stored_product(context, Tensor::of(x.data() + n * 320, {1, 320}), {&made.matrix, 1},
                   Tensor::of(alone.data(), {1, 40}), room);
    EXPECT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + n * 40)) << n;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, StoredMatrixTest,
                         testing::Values(Kind{Stored::kFloat32, false, 0}, Kind{Stored::kBFloat16, false, 0},
                                         Kind{Stored::kFloat16, false, 0}, Kind{Stored::kNibbles, false, 32},
                                         Kind{Stored::kNibbles, true, 32}, Kind{Stored::kBytes, false, 32},
                                         Kind{Stored::kBytes, true, 16}));

}  // namespace
}  // namespace athanor::tensor
