#include "engine/tensor/cross_entropy.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/tensor/test_support.h"

namespace athanor::tensor {
namespace {

using Doubles = std::vector<double>;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

struct Case {
  std::int64_t N, C, V, rows;
  double size;
};

struct Types {
  DType x, logits, gradients;
  double loss_tolerance, tolerance;
};
// Gradients of logits that are rounded to bfloat16, and so their products: with logits of bfloat16 softmax sees them
// so.
constexpr Types kTypes[] = {
    {DType::kFloat32, DType::kFloat32, DType::kFloat32, kTolerance, kTolerance},
    {DType::kBFloat16, DType::kFloat32, DType::kFloat32, kTolerance, 2 * kTolerance16},
    {DType::kBFloat16, DType::kFloat32, DType::kBFloat16, kTolerance, 2 * kTolerance16},
    {DType::kBFloat16, DType::kBFloat16, DType::kFloat32, 5e-3, 1e-2},
    {DType::kBFloat16, DType::kBFloat16, DType::kBFloat16, 5e-3, 1e-2},
};

void agrees(const Types& types, int threads) {
  Context context(threads);
  for (const auto& [N, C, V, rows, size] :
       {Case{1, 1, 2, 1, 1}, Case{7, 5, 3, 2, 1}, Case{50, 32, 300, 16, 1}, Case{33, 16, 2500, 64, 1},
        Case{300, 8, 10, 300, 1}, Case{20, 64, 100, 7, 5}}) {
    Owned x(types.x, {N, C}), w(types.x, {V, C}), logits(types.logits, {rows, V}), dx(types.x, {N, C});
    Owned dw(types.gradients, {V, C});
    x.random(1, size), w.random(2, size), dw.random(3, 0.01), dx.fill(NAN);
    std::vector<std::int32_t> ids;
    for (std::int64_t n = 0; n < N; ++n) {
      ids.push_back(n % 5 == 4 ? kNoTarget : static_cast<std::int32_t>(n * 7 % V));
    }
    const float scale = 0.125F;
    Doubles dx_expected(at(N * C)), dw_expected = dw.doubles();
    double loss = 0;
    for (std::int64_t n = 0; n < N; ++n) {
      if (ids[at(n)] == kNoTarget) continue;
      Doubles z(at(V));
      double sum = 0;
      for (std::int64_t v = 0; v < V; ++v) {
        for (std::int64_t c = 0; c < C; ++c) z[at(v)] += static_cast<double>(x[n * C + c]) * w[v * C + c];
        sum += std::exp(z[at(v)]);
      }
      loss += std::log(sum) - z[at(ids[at(n)])];
      for (std::int64_t v = 0; v < V; ++v) {
        const double dz = (std::exp(z[at(v)]) / sum - (v == ids[at(n)])) * scale;
        for (std::int64_t c = 0; c < C; ++c) {
          dx_expected[at(n * C + c)] += dz * w[v * C + c];
          dw_expected[at(v * C + c)] += dz * x[n * C + c];
        }
      }
    }
    const Tensor targets = Tensor::of(ids.data(), {N});
    EXPECT_NEAR(cross_entropy_forward(context, x, w.view(), targets, logits), loss, types.loss_tolerance * loss);
    EXPECT_NEAR(cross_entropy_forward_backward(context, x, w.view(), targets, scale, logits, dx, dw), loss,
                types.loss_tolerance * loss);
    EXPECT_LT(relative_error(dx, dx_expected), types.tolerance) << N << " " << C << " " << V;
    EXPECT_LT(relative_error(dw, dw_expected), types.tolerance) << N << " " << C << " " << V;
    // Summed apart and rounded once, to what it is added to.
    Owned apart(types.gradients, {V, C}), sums{V, C};
    apart.random(3, 0.01), sums.fill(NAN);
    cross_entropy_forward_backward(context, x, w.view(), targets, scale, logits, dx, apart, sums);
    EXPECT_LT(relative_error(apart, dw_expected), types.tolerance) << N << " " << C << " " << V;
  }
}

TEST(CrossEntropy, LossAndGradientsAgreeWithFloat64WhateverTheChunk) {
  for (const Types& types : kTypes) {
    for (const int threads : {1, 3}) agrees(types, threads);
  }
}

TEST(CrossEntropy, LogitsThatNoExponentialCanHoldAreFine) {
  Context context(1);
  Owned x{1, 1}, w{3, 1}, logits{1, 3};
  x.fill(1);
  w.view().f32()[0] = 1000;
  w.view().f32()[1] = 999;
  w.view().f32()[2] = -1000;
  std::int32_t target = 1;
  EXPECT_NEAR(cross_entropy_forward(context, x, w.view(), Tensor::of(&target, {1}), logits), std::log(1 + std::exp(1.0)),
              1e-6);
}

}  // namespace
}  // namespace athanor::tensor
