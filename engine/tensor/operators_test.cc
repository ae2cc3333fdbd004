// Each operator's forward and backward against the mathematics of its header in float64.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/tensor/embedding.h"
#include "engine/tensor/rmsnorm.h"
#include "engine/tensor/rope.h"
#include "engine/tensor/swiglu.h"
#include "engine/tensor/test_support.h"

namespace athanor::tensor {
namespace {

using Doubles = std::vector<double>;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

struct Shape {
  std::int64_t rows, columns;
};
constexpr Shape kShapes[] = {{1, 1}, {1, 7}, {5, 16}, {33, 100}, {130, 257}, {4, 4096}};
constexpr DType kTypes[] = {DType::kFloat32, DType::kBFloat16};

void rmsnorm_agrees(DType type, DType gradients, int threads) {
  Context context(threads);
  for (const auto& [N, C] : kShapes) {
    Owned x(type, {N, C}), gain(type, {C}), dy(type, {N, C}), dx(type, {N, C}), y(type, {N, C});
    Owned d_gain(gradients, {C}), r{N}, partial{threads, C};
    x.random(1, 3);
    gain.random(2);
    dy.random(3);
    dx.random(4);
    d_gain.random(5);
    const double eps = 1e-5;
    Doubles y_expected(at(N * C)), dx_expected = dx.doubles(), d_gain_expected = d_gain.doubles();
    for (std::int64_t n = 0; n < N; ++n) {
      double squares = 0, dot = 0;
      for (std::int64_t c = 0; c < C; ++c) squares += std::pow(x[n * C + c], 2);
      const double scale = 1 / std::sqrt(squares / static_cast<double>(C) + eps);
      for (std::int64_t c = 0; c < C; ++c) dot += static_cast<double>(gain[c]) * dy[n * C + c] * x[n * C + c];
      for (std::int64_t c = 0; c < C; ++c) {
        const std::int64_t i = n * C + c;
        y_expected[at(i)] = x[i] * scale * gain[c];
        dx_expected[at(i)] += scale * gain[c] * dy[i] - x[i] * std::pow(scale, 3) * dot / static_cast<double>(C);
        d_gain_expected[at(c)] += dy[i] * x[i] * scale;
      }
    }
    rmsnorm_forward(context, x, gain, 1e-5F, y, r);
    rmsnorm_backward(context, x, gain, r, dy, dx, d_gain, partial);
    EXPECT_LT(relative_error(y, y_expected), tolerance_of(type));
    EXPECT_LT(relative_error(dx, dx_expected), tolerance_of(type));
    EXPECT_LT(relative_error(d_gain, d_gain_expected), tolerance_of(gradients));
  }
}

TEST(RmsNorm, ForwardAndBackward) {
  for (const DType type : kTypes) {
    for (const DType gradients : kTypes) {
      for (const int threads : {1, 3}) rmsnorm_agrees(type, gradients, threads);
    }
  }
}

TEST(RmsNorm, FusedAdditionIsTheSameAsAddingFirst) {
  Context context(2);
  for (const DType type : kTypes) {
    for (const auto& [N, C] : kShapes) {
      Owned x(type, {N, C}), delta(type, {N, C}), gain(type, {C}), sum(type, {N, C}), y(type, {N, C});
      Owned y_apart(type, {N, C}), r{N}, r_apart{N};
      x.random(1);
      delta.random(2);
      gain.random(3);
      Doubles expected = x.doubles();
      for (std::int64_t i = 0; i < N * C; ++i) expected[at(i)] += delta[i];
      add_rmsnorm_forward(context, x, delta, gain, 1e-5F, sum, y, r);
      EXPECT_LT(relative_error(sum, expected), tolerance_of(type));
      rmsnorm_forward(context, sum, gain, 1e-5F, y_apart, r_apart);
      EXPECT_LT(relative_error(y, y_apart.doubles()), type == DType::kFloat32 ? 1e-6 : kTolerance16);
      EXPECT_LT(relative_error(r, r_apart.doubles()), kTolerance);
      add_rmsnorm_forward(context, x, delta, gain, 1e-5F, x, y_apart, r_apart);  // in place
      EXPECT_EQ(x.doubles(), sum.doubles());
      EXPECT_EQ(y_apart.doubles(), y.doubles());
    }
  }
}

TEST(Rope, TurnsPairsOfHalvesByThePositionsAngle) {
  Context context(2);
  const std::int64_t B = 3, T = 19, H = 3, D = 10, first = 5;
  for (const DType type : kTypes) {
    Owned cos{T + first, D / 2}, sin{T + first, D / 2}, wide(type, {B * T, H * D + 4});
    wide.random(1);
    rope_table(10000, cos, sin);
    Doubles expected = wide.doubles();
    for (std::int64_t n = 0; n < B * T; ++n) {
      for (std::int64_t h = 0; h < H; ++h) {
        for (std::int64_t i = 0; i < D / 2; ++i) {
          const double angle =
              static_cast<double>(first + n % T) * std::pow(10000.0, -2.0 * static_cast<double>(i) / D);
          double& a = expected[at(n * (H * D + 4) + h * D + i)];
          double& b = expected[at(n * (H * D + 4) + h * D + i + D / 2)];
          const double turned = a * std::cos(angle) - b * std::sin(angle);
          b = b * std::cos(angle) + a * std::sin(angle);
          a = turned;
        }
      }
    }
    const Doubles before = wide.doubles();
    const Tensor x = wide.view().columns(0, H * D);
    rope(context, x, D, T, first, cos, sin, Turn::kForward);
    EXPECT_LT(relative_error(wide, expected), tolerance_of(type));
    // Backward is the transpose of a rotation: turning back. What was rounded is rounded once more.
    rope(context, x, D, T, first, cos, sin, Turn::kBackward);
    EXPECT_LT(relative_error(wide, before), 1.5 * tolerance_of(type));
  }
}

TEST(Rope, LongPositionsKeepTheirAngles) {
  const std::int64_t T = 100'001, D = 8;
  Owned cos{T, D / 2}, sin{T, D / 2};
  rope_table(500000, cos, sin);
  for (std::int64_t i = 0; i < D / 2; ++i) {
    const double angle = 100'000 * std::pow(500000.0, -2.0 * static_cast<double>(i) / D);
    EXPECT_NEAR(cos[100'000 * (D / 2) + i], std::cos(angle), 1e-6);
    EXPECT_NEAR(sin[100'000 * (D / 2) + i], std::sin(angle), 1e-6);
  }
}

TEST(SwiGlu, ForwardAndBackward) {
  Context context(3);
  for (const DType type : kTypes) {
    for (const auto& [N, F] : kShapes) {
      for (const double scale : {1.0, 30.0, 200.0}) {  // 200: exp of it has no float32
        Owned gate_up(type, {N, 2 * F}), y(type, {N, F}), dy(type, {N, F});
        gate_up.random(1, scale);
        dy.random(2);
        Doubles expected(at(N * F)), gradient(at(N * 2 * F));
        for (std::int64_t n = 0; n < N; ++n) {
          for (std::int64_t c = 0; c < F; ++c) {
            const double gate = gate_up[n * 2 * F + c], up = gate_up[n * 2 * F + F + c], d = dy[n * F + c];
            const double sigmoid = 1 / (1 + std::exp(-gate));
            expected[at(n * F + c)] = gate * sigmoid * up;
            gradient[at(n * 2 * F + c)] = d * up * sigmoid * (1 + gate * (1 - sigmoid));
            gradient[at(n * 2 * F + F + c)] = d * gate * sigmoid;
          }
        }
        swiglu_forward(context, gate_up, y);
        swiglu_backward(context, gate_up, dy);
        EXPECT_LT(relative_error(y, expected), tolerance_of(type));
        EXPECT_LT(relative_error(gate_up, gradient), tolerance_of(type));
      }
    }
  }
}

void embedding_agrees(DType type, DType gradients, int threads) {
  Context context(threads);
  const std::int64_t V = 11, C = 300, N = 40;
  Owned table(type, {V, C}), x(type, {N, C}), dx(type, {N, C}), d_table(gradients, {V, C});
  table.random(1);
  dx.random(2);
  d_table.random(3);
  std::vector<std::int32_t> ids;
  for (std::int32_t n = 0; n < N; ++n) ids.push_back(n * n % 11);
  Doubles expected(at(N * C)), gradient = d_table.doubles();
  for (std::int64_t n = 0; n < N; ++n) {
    for (std::int64_t c = 0; c < C; ++c) {
      expected[at(n * C + c)] = table[ids[at(n)] * C + c];
      gradient[at(ids[at(n)] * C + c)] += dx[n * C + c];
    }
  }
  const Tensor tokens = Tensor::of(ids.data(), {N});
  embedding_forward(context, tokens, table, x);
  embedding_backward(context, tokens, dx, d_table);
  EXPECT_EQ(x.doubles(), expected);
  EXPECT_LT(relative_error(d_table, gradient), tolerance_of(gradients));
}

TEST(Embedding, GathersAndAddsUpRepeatedTokens) {
  for (const DType type : kTypes) {
    for (const DType gradients : kTypes) {
      for (const int threads : {1, 3}) embedding_agrees(type, gradients, threads);
    }
  }
}

}  // namespace
}  // namespace athanor::tensor
