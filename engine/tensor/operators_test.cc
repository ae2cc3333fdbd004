// Each operator's forward and backward against the mathematics of its header in float64.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/tensor/adamw.h"
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

TEST(RmsNorm, ForwardAndBackward) {
  for (const int threads : {1, 3}) {
    Context context(threads);
    for (const auto& [N, C] : kShapes) {
      Owned x{N, C}, gain{C}, dy{N, C}, dx{N, C}, d_gain{C}, y{N, C}, r{N}, partial{threads, C};
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
      EXPECT_LT(relative_error(y, y_expected), kTolerance);
      EXPECT_LT(relative_error(dx, dx_expected), kTolerance);
      EXPECT_LT(relative_error(d_gain, d_gain_expected), kTolerance);
    }
  }
}

TEST(RmsNorm, FusedAdditionIsTheSameAsAddingFirst) {
  Context context(2);
  for (const auto& [N, C] : kShapes) {
    Owned x{N, C}, delta{N, C}, gain{C}, sum{N, C}, y{N, C}, r{N}, y_apart{N, C}, r_apart{N};
    x.random(1);
    delta.random(2);
    gain.random(3);
    Doubles expected = x.doubles();
    for (std::int64_t i = 0; i < N * C; ++i) expected[at(i)] += delta[i];
    add_rmsnorm_forward(context, x, delta, gain, 1e-5F, sum, y, r);
    EXPECT_LT(relative_error(sum, expected), kTolerance);
    rmsnorm_forward(context, sum, gain, 1e-5F, y_apart, r_apart);
    EXPECT_LT(relative_error(y, y_apart.doubles()), 1e-6);
    EXPECT_LT(relative_error(r, r_apart.doubles()), 1e-6);
    add_rmsnorm_forward(context, x, delta, gain, 1e-5F, x, y_apart, r_apart);  // in place
    EXPECT_EQ(x.doubles(), sum.doubles());
    EXPECT_EQ(y_apart.doubles(), y.doubles());
  }
}

TEST(Rope, TurnsPairsOfHalvesByThePositionsAngle) {
  Context context(2);
  const std::int64_t B = 3, T = 19, H = 3, D = 10, first = 5;
  Owned cos{T + first, D / 2}, sin{T + first, D / 2}, wide{B * T, H * D + 4};
  wide.random(1);
  rope_table(10000, cos, sin);
  Doubles expected = wide.doubles();
  for (std::int64_t n = 0; n < B * T; ++n) {
    for (std::int64_t h = 0; h < H; ++h) {
      for (std::int64_t i = 0; i < D / 2; ++i) {
        const double angle = static_cast<double>(first + n % T) * std::pow(10000.0, -2.0 * static_cast<double>(i) / D);
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
  EXPECT_LT(relative_error(wide, expected), kTolerance);
  // Backward is the transpose of a rotation: turning back.
  rope(context, x, D, T, first, cos, sin, Turn::kBackward);
  EXPECT_LT(relative_error(wide, before), kTolerance);
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
  for (const auto& [N, F] : kShapes) {
    for (const double scale : {1.0, 30.0, 200.0}) {  // 200: exp of it has no float32
      Owned gate_up{N, 2 * F}, y{N, F}, dy{N, F};
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
      EXPECT_LT(relative_error(y, expected), kTolerance);
      EXPECT_LT(relative_error(gate_up, gradient), kTolerance);
    }
  }
}

TEST(Embedding, GathersAndAddsUpRepeatedTokens) {
  for (const int threads : {1, 3}) {
    Context context(threads);
    const std::int64_t V = 11, C = 150, N = 40;
    Owned table{V, C}, x{N, C}, dx{N, C}, d_table{V, C};
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
    EXPECT_LT(relative_error(d_table, gradient), kTolerance);
  }
}

TEST(AdamW, FollowsTheFormulaForManySteps) {
  Context context(2);
  const std::int64_t count = 10'007;
  Owned p{count}, g{count}, m{count}, v{count};
  p.random(1);
  Doubles p_expected = p.doubles(), m_expected(at(count)), v_expected(at(count));
  AdamW how{.rate = 1e-2, .weight_decay = 0.1};
  for (how.step = 1; how.step <= 20; ++how.step) {
    g.random(100 + static_cast<std::uint64_t>(how.step), 0.3);
    how.gradient_scale = how.step % 2 ? 1 : 0.5;
    const double t = static_cast<double>(how.step);
    for (std::int64_t i = 0; i < count; ++i) {
      const double gradient = g[i] * how.gradient_scale;
      double& mi = m_expected[at(i)];
      double& vi = v_expected[at(i)];
      mi = how.beta1 * mi + (1 - how.beta1) * gradient;
      vi = how.beta2 * vi + (1 - how.beta2) * gradient * gradient;
      double& pi = p_expected[at(i)];
      pi -= how.rate * how.weight_decay * pi;
      pi -= how.rate * (mi / (1 - std::pow(how.beta1, t))) / (std::sqrt(vi / (1 - std::pow(how.beta2, t))) + how.eps);
    }
    adamw(context, how, p, g, m, v);
  }
  EXPECT_LT(relative_error(p, p_expected), kTolerance);
  EXPECT_LT(relative_error(m, m_expected), kTolerance);
  EXPECT_LT(relative_error(v, v_expected), kTolerance);
}

TEST(SquaredNorm, IsExactEnoughAndTheSameOnAnyNumberOfThreads) {
  for (const std::int64_t count : {0, 1, 255, 256, 257, 1'000'003}) {
    Owned x{count};
    x.random(9);
    double expected = 0;
    for (const double value : x.doubles()) expected += value * value;
    Context one(1), three(3);
    const double first = squared_norm(one, x);
    EXPECT_NEAR(first, expected, 1e-9 * expected);
    EXPECT_EQ(first, squared_norm(three, x));
  }
}

}  // namespace
}  // namespace athanor::tensor
