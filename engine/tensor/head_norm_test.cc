#include "engine/tensor/head_norm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/tensor/test_support.h"

namespace athanor::tensor {
namespace {

TEST(HeadNorm, AgreesWithFloat64OnColumnsOfAWiderMatrix) {
  for (const auto& [N, H, D] : {std::array<std::int64_t, 3>{1, 1, 2}, {37, 3, 10}, {70, 4, 64}, {5, 2, 128}}) {
    for (const int threads : {1, 3}) {
      SCOPED_TRACE(testing::Message() << "N " << N << " H " << H << " D " << D << " threads " << threads);
      Context context(threads);
      const float eps = 1e-3F;
      const std::int64_t C = H * D, wide = C + 7;
      Owned x{N, wide}, y{N, C}, gain{D}, dx{N, C}, d_gain{D}, partial{threads, D};
      x.random(1), gain.random(2), dx.random(3), d_gain.random(4), partial.fill(NAN);
      std::vector<double> expected(static_cast<std::size_t>(N * C)), gradient(expected),
          gain_gradient = d_gain.doubles();
      for (std::int64_t n = 0; n < N; ++n) {
        for (std::int64_t h = 0; h < H; ++h) {
          const auto at = [&](std::int64_t d) { return static_cast<double>(x[n * wide + 3 + h * D + d]); };
          const auto dy = [&](std::int64_t d) { return static_cast<double>(dx[n * C + h * D + d]); };
          double squares = 0, mean = 0;
          for (std::int64_t d = 0; d < D; ++d) {
            squares += at(d) * at(d);
            mean += gain[d] * dy(d) * at(d) / static_cast<double>(D);
          }
          const double r = 1 / std::sqrt(squares / static_cast<double>(D) + eps);
          for (std::int64_t d = 0; d < D; ++d) {
            const auto i = static_cast<std::size_t>(n * C + h * D + d);
            expected[i] = at(d) * r * gain[d];
            gradient[i] = r * gain[d] * dy(d) - at(d) * r * r * r * mean;
            gain_gradient[static_cast<std::size_t>(d)] += dy(d) * at(d) * r;
          }
        }
      }
      const Tensor part = x.view().columns(3, 3 + C);
      head_norm_forward(context, part, gain, eps, y);
      EXPECT_LT(relative_error(y, expected), kTolerance);
      head_norm_backward(context, part, gain, eps, dx, d_gain, partial);
      EXPECT_LT(relative_error(dx, gradient), kTolerance);
      EXPECT_LT(relative_error(d_gain, gain_gradient), kTolerance);
      head_norm_forward(context, part, gain, eps, part);
      for (std::int64_t c = 0; c < C; ++c) EXPECT_EQ(x[3 + c], y[c]) << "in place";
    }
  }
}

}  // namespace
}  // namespace athanor::tensor
