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

TEST(Dropout, ASequencesMaskIsTheSameHoweverLongTheRowsAre) {
  Context context(2);
  Owned x{24, 37}, wide{24, 37}, narrow{24, 37};
  x.fill(1);
  // Two sequences of 12 rows, and the same ones in 8 rows each: the first 8 of the 12.
  dropout_forward(context, {.rate = 0.5F, .key = 9, .first_row = 60, .length = 12, .stride = 20}, x, wide);
  dropout_forward(context, {.rate = 0.5F, .key = 9, .first_row = 60, .length = 8, .stride = 20}, x.view().rows(0, 16),
                  narrow.view().rows(0, 16));
  for (std::int64_t row = 0; row < 16; ++row) {
    for (std::int64_t c = 0; c < 37; ++c) EXPECT_EQ(narrow[row * 37 + c], wide[(row / 8 * 12 + row % 8) * 37 + c]);
  }
}

}  // namespace
}  // namespace athanor::tensor
