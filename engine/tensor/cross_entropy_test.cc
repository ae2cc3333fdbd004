#include "engine/tensor/cross_entropy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <span>

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

  // Rows that count differently, by their weights or by z-loss, may bring those with the most rounding to the fore.
  double tolerance_of(bool weighed) const {
    return logits == DType::kBFloat16 && weighed ? 1.5 * tolerance : tolerance;
  }
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

// What a row's loss is weighted by, and z-loss's coefficient.
struct Terms {
  double z_loss = 0;
  std::int64_t sequences = 0;  // each with a weight of its own; 0: all rows the same
};

void agrees(const Types& types, int threads, const Terms& terms = {}) {
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
    // As many sequences as divide the rows.
    std::vector<float> each;
    for (std::int64_t s = 0; s < terms.sequences && N % terms.sequences == 0; ++s) {
      each.push_back((s % 2 == 0 ? 0.5F : -0.25F) / static_cast<float>(s + 1));
    }
    const auto sequences = static_cast<std::int64_t>(each.size());
    const RowWeights weights = each.empty() ? RowWeights(scale) : RowWeights(std::span<const float>(each));
    Doubles of_sequences(each.size());
    double z_loss = 0;
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
      const double lse = std::log(sum), own = lse - z[at(ids[at(n)])];
      loss += own;
      z_loss += terms.z_loss * lse * lse;
      const double weight = each.empty() ? scale : each[at(n * sequences / N)];
      if (!each.empty()) of_sequences[at(n * sequences / N)] += own;
      for (std::int64_t v = 0; v < V; ++v) {
        const double dz = (std::exp(z[at(v)]) / sum * (1 + 2 * terms.z_loss * lse) - (v == ids[at(n)])) * weight;
        for (std::int64_t c = 0; c < C; ++c) {
          dx_expected[at(n * C + c)] += dz * w[v * C + c];
          dw_expected[at(v * C + c)] += dz * x[n * C + c];
        }
      }
    }
    const Tensor targets = Tensor::of(ids.data(), {N});
    const auto z = static_cast<float>(terms.z_loss);
    Doubles found(each.size(), NAN);
    EXPECT_NEAR(cross_entropy_forward(context, x, w.view(), targets, logits, found), loss, types.loss_tolerance * loss);
    for (std::size_t s = 0; s < each.size(); ++s) EXPECT_NEAR(found[s], of_sequences[s], types.loss_tolerance * loss);
    EXPECT_NEAR(cross_entropy_forward_backward(context, x, w.view(), targets, weights, logits, dx, dw, {}, z),
                loss + z_loss, types.loss_tolerance * (loss + z_loss));
    const double tolerance = types.tolerance_of(!each.empty() || terms.z_loss > 0);
    EXPECT_LT(relative_error(dx, dx_expected), tolerance) << N << " " << C << " " << V;
    EXPECT_LT(relative_error(dw, dw_expected), tolerance) << N << " " << C << " " << V;
    // Summed apart and rounded once, to what it is added to.
    Owned apart(types.gradients, {V, C}), sums{V, C};
    apart.random(3, 0.01), sums.fill(NAN);
    cross_entropy_forward_backward(context, x, w.view(), targets, weights, logits, dx, apart, sums, z);
    EXPECT_LT(relative_error(apart, dw_expected), tolerance) << N << " " << C << " " << V;
  }
}

TEST(CrossEntropy, LossAndGradientsAgreeWithFloat64WhateverTheChunk) {
  for (const Types& types : kTypes) {
    for (const int threads : {1, 3}) agrees(types, threads);
  }
}

TEST(CrossEntropy, ZLossAgreesWithFloat64) {
  for (const Types& types : kTypes) {
    for (const double z_loss : {1e-4, 0.02}) agrees(types, 2, {.z_loss = z_loss});
  }
}

TEST(CrossEntropy, SequencesHaveLossesAndWeightsOfTheirOwn) {
  for (const Types& types : kTypes) {
    for (const std::int64_t sequences : {1, 2, 5, 10}) agrees(types, 3, {.sequences = sequences});
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
  EXPECT_NEAR(cross_entropy_forward(context, x, w.view(), Tensor::of(&target, {1}), logits),
              std::log(1 + std::exp(1.0)), 1e-6);
}

}  // namespace
}  // namespace athanor::tensor
