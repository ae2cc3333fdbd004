#include "engine/tensor/muon.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/tensor/test_support.h"

namespace athanor::tensor {
namespace {

using Doubles = std::vector<double>;

// The formulas of muon.h and orthogonalize.h, in float64.
Doubles orthogonalized(Doubles x, std::int64_t M, std::int64_t N) {
  const auto product = [](const Doubles& a, const Doubles& b, std::int64_t m, std::int64_t k, std::int64_t n) {
    Doubles c(static_cast<std::size_t>(m * n));
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t l = 0; l < k; ++l) {
        for (std::int64_t j = 0; j < n; ++j) {
          c[static_cast<std::size_t>(i * n + j)] +=
              a[static_cast<std::size_t>(i * k + l)] * b[static_cast<std::size_t>(l * n + j)];
        }
      }
    }
    return c;
  };
  double squares = 0;
  for (const double value : x) squares += value * value;
  for (double& value : x) value /= std::sqrt(squares);
  for (int step = 0; step < 5; ++step) {
    Doubles turned(x.size());
    for (std::int64_t i = 0; i < M; ++i) {
      for (std::int64_t j = 0; j < N; ++j) {
        turned[static_cast<std::size_t>(j * M + i)] = x[static_cast<std::size_t>(i * N + j)];
      }
    }
    const Doubles a = product(x, turned, M, N, M), aa = product(a, a, M, M, M);
    Doubles series(a.size());
    for (std::size_t i = 0; i < a.size(); ++i) series[i] = -4.7750 * a[i] + 2.0315 * aa[i];
    const Doubles more = product(series, x, M, M, N);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = 3.4445 * x[i] + more[i];
  }
  return x;
}

TEST(Muon, FollowsTheFormulaForManySteps) {
  Context context(2);
  for (const auto& [M, N] : {std::pair<std::int64_t, std::int64_t>{24, 40}, {40, 24}, {33, 33}}) {
    for (const DType type : {DType::kFloat32, DType::kBFloat16}) {
      for (const DType gradient_type : {DType::kFloat32, DType::kBFloat16}) {
        Owned start{M * N}, values(type, {M * N}), remainders(DType::kInt16, {M * N}), momentum{M, N}, back{M * N};
        start.random(1);
        const Masters masters{values, remainders};
        split_masters(start, masters);
        Owned scratch(type, {muon_scratch(M, N)});
        scratch.fill(NAN);
        Doubles p = start.doubles(), b(p.size()), update(p.size());
        Muon how{.rate = 0.01, .momentum = 0.9, .weight_decay = 0.1};
        for (int step = 1; step <= 5; ++step) {
          Owned g(gradient_type, {M, N});
          g.random(static_cast<std::uint64_t>(step + 10));
          how.gradient_scale = step % 2 ? 1 : 0.5;
          for (std::size_t i = 0; i < p.size(); ++i) {
            const double scaled = g[static_cast<std::int64_t>(i)] * how.gradient_scale;
            b[i] = 0.9 * b[i] + 0.1 * scaled;
            update[i] = 0.9 * b[i] + 0.1 * scaled;
          }
          update = orthogonalized(update, M, N);
          for (std::size_t i = 0; i < p.size(); ++i) {
            p[i] -= 0.01 * (0.1 * p[i] + 0.2 * std::sqrt(static_cast<double>(std::max(M, N))) * update[i]);
          }
          muon(context, how, masters, g, momentum, scratch);
        }
        join_masters(masters, back);
        EXPECT_LT(relative_error(momentum, b), kTolerance);
        // The iteration itself is made in the parameters' type, and the matrix moves by a few hundredths.
        EXPECT_LT(relative_error(back, p), type == DType::kFloat32 ? 2e-5 : 5e-3);
      }
    }
  }
}

}  // namespace
}  // namespace athanor::tensor
