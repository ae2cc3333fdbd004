#include "engine/tensor/bias.h"

#include <gtest/gtest.h>

#include "engine/tensor/test_support.h"

namespace athanor::tensor {
namespace {

TEST(Bias, IsAddedToEachRowAndGathersTheirGradients) {
  for (const int threads : {1, 3}) {
    Context context(threads);
    const std::int64_t N = 150, C = 100, wide = C + 5;
    Owned x{N, wide}, bias{C}, dy{N, C}, d_bias{C};
    x.random(1), bias.random(2), dy.random(3), d_bias.random(4);
    std::vector<double> expected = x.doubles(), gradient = d_bias.doubles();
    for (std::int64_t n = 0; n < N; ++n) {
      for (std::int64_t c = 0; c < C; ++c) {
        expected[static_cast<std::size_t>(n * wide + 2 + c)] += bias[c];
        gradient[static_cast<std::size_t>(c)] += dy[n * C + c];
      }
    }
    bias_forward(context, bias, x.view().columns(2, 2 + C));
    bias_backward(context, dy, d_bias);
    EXPECT_LT(relative_error(x, expected), kTolerance);
    EXPECT_LT(relative_error(d_bias, gradient), kTolerance);
  }
}

}  // namespace
}  // namespace athanor::tensor
