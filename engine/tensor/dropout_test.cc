#include "engine/tensor/dropout.h"

#include <gtest/gtest.h>

#include "engine/tensor/test_support.h"

namespace athanor::tensor {
namespace {

TEST(Dropout, DropsTheRateAndScalesTheRest) {
  Context context(2);
  for (const DType type : {DType::kFloat32, DType::kBFloat16}) {
    constexpr std::int64_t kRows = 200, kColumns = 500;
    Owned x(type, {kRows, kColumns}), y(type, {kRows, kColumns});
    x.fill(3);
    dropout_forward(context, {.rate = 0.25F, .key = 5}, x, y);
    std::int64_t dropped = 0, pairs = 0, below = 0;
    for (std::int64_t i = 0; i < kRows * kColumns; ++i) {
      EXPECT_TRUE(y[i] == 0 || y[i] == 4);
      dropped += y[i] == 0;
      pairs += i % kColumns > 0 && y[i] == 0 && y[i - 1] == 0;
      below += i >= kColumns && y[i] == 0 && y[i - kColumns] == 0;
    }
    // Of 100,000 draws, five standard deviations; neighbours are independent.
    EXPECT_NEAR(static_cast<double>(dropped), 25'000, 5 * 137);
    EXPECT_NEAR(static_cast<double>(pairs), 6250, 5 * 90);
    EXPECT_NEAR(static_cast<double>(below), 6250, 5 * 90);
  }
}

TEST(Dropout, TheMaskIsTheSameForwardAndBackInAnyCut) {
  Context one(1), three(3);
  Owned x{50, 37}, y{50, 37}, again{50, 37}, other{50, 37}, dx{50, 37};
  x.random(1);
  const Dropout how{.rate = 0.5F, .key = 9, .first_row = 1000};
  dropout_forward(one, how, x, y);
  for (const std::int64_t begin : {0, 20}) {
    const std::int64_t end = begin == 0 ? 20 : 50;
    Dropout part = how;
    part.first_row += begin;
    dropout_forward(three, part, x.view().rows(begin, end), again.view().rows(begin, end));
  }
  EXPECT_EQ(y.doubles(), again.doubles());
  dropout_forward(one, {.rate = 0.5F, .key = 10, .first_row = 1000}, x, other);
  EXPECT_NE(y.doubles(), other.doubles());
  dx.fill(1);
  dropout_backward(one, how, x, dx);
  for (std::int64_t i = 0; i < 50 * 37; ++i) EXPECT_EQ(dx[i], 1 + y[i]);
}

}  // namespace
}  // namespace athanor::tensor
