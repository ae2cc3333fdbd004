#include "engine/tensor/orthogonalize.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/tensor/test_support.h"

namespace athanor::tensor {
namespace {

using Matrix = std::vector<std::vector<double>>;

Matrix times(const Matrix& a, const Matrix& b) {
  Matrix c(a.size(), std::vector<double>(b[0].size()));
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t k = 0; k < b.size(); ++k) {
      for (std::size_t j = 0; j < b[0].size(); ++j) c[i][j] += a[i][k] * b[k][j];
    }
  }
  return c;
}

Matrix transposed(const Matrix& a) {
  Matrix t(a[0].size(), std::vector<double>(a.size()));
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t j = 0; j < a[0].size(); ++j) t[j][i] = a[i][j];
  }
  return t;
}

// The iteration of the header in float64.
Matrix reference(Matrix x) {
  double squares = 0;
  for (const auto& row : x) {
    for (const double value : row) squares += value * value;
  }
  for (auto& row : x) {
    for (double& value : row) value /= std::sqrt(squares);
  }
  for (int step = 0; step < 5; ++step) {
    const Matrix a = times(x, transposed(x)), squared = times(a, a);
    Matrix series = a;
    for (std::size_t i = 0; i < a.size(); ++i) {
      for (std::size_t j = 0; j < a.size(); ++j) series[i][j] = -4.7750 * a[i][j] + 2.0315 * squared[i][j];
    }
    const Matrix product = times(series, x);
    for (std::size_t i = 0; i < x.size(); ++i) {
      for (std::size_t j = 0; j < x[0].size(); ++j) x[i][j] = 3.4445 * x[i][j] + product[i][j];
    }
  }
  return x;
}

struct Case {
  std::int64_t rows, columns;
};

TEST(Orthogonalize, FollowsTheIterationInFloat64) {
  for (const DType type : {DType::kFloat32, DType::kBFloat16}) {
    for (const auto& [M, N] : {Case{1, 1}, Case{5, 40}, Case{40, 5}, Case{33, 33}, Case{64, 100}}) {
      Context context(2);
      Owned x(type, {M, N}), scratch(type, {orthogonalize_scratch(M, N)});
      x.random(7);
      Matrix given(static_cast<std::size_t>(M), std::vector<double>(static_cast<std::size_t>(N)));
      for (std::int64_t i = 0; i < M * N; ++i) {
        given[static_cast<std::size_t>(i / N)][static_cast<std::size_t>(i % N)] = x[i];
      }
      std::vector<double> expected;
      for (const auto& row : reference(given)) expected.insert(expected.end(), row.begin(), row.end());
      orthogonalize(context, x, scratch);
      // Five steps multiply the rounding of the first by up to 3.4445⁵ where singular values are small.
      EXPECT_LT(relative_error(x, expected), type == DType::kFloat32 ? 1e-4 : 0.05) << M << "x" << N;
    }
  }
}

TEST(Orthogonalize, BringsSingularValuesNearOneAndLeavesZeroAlone) {
  Context context(2);
  const std::int64_t M = 20, N = 80;
  Owned x{M, N}, scratch{orthogonalize_scratch(M, N)};
  x.random(1, 100);
  orthogonalize(context, x, scratch);
  for (std::int64_t i = 0; i < M; ++i) {  // the diagonal of X · Xᵀ lies between the squares of its singular values
    double square = 0;
    for (std::int64_t j = 0; j < N; ++j) square += std::pow(x[i * N + j], 2);
    EXPECT_GT(square, 0.5);
    EXPECT_LT(square, 1.5);
  }
  x.fill(0);
  orthogonalize(context, x, scratch);
  EXPECT_EQ(x.doubles(), std::vector<double>(static_cast<std::size_t>(M * N)));
}

}  // namespace
}  // namespace athanor::tensor
