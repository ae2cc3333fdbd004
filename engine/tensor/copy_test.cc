#include "engine/tensor/copy.h"

#include <gtest/gtest.h>

#include "engine/tensor/test_support.h"

namespace athanor::tensor {
namespace {

// Columns 1 to 1 + C of wider rows, so that a neighbour that is written is seen.
Tensor inside(const Owned& wide, std::int64_t columns) { return wide.view().columns(1, 1 + columns); }

constexpr std::pair<std::int64_t, std::int64_t> kShapes[] = {{1, 1}, {3, 7}, {700, 130}, {1, 70'000}};

TEST(Copy, RowsOfWiderOnesLeaveTheirNeighbours) {
  for (const auto& [N, C] : kShapes) {
    for (const DType type : {DType::kFloat32, DType::kBFloat16}) {
      for (const int threads : {1, 3}) {
        Context context(threads);
        Owned from(type, {N, C + 3}), to(type, {N, C + 2});
        from.random(1);
        to.fill(7);
        copy(context, inside(from, C), inside(to, C));
        for (std::int64_t n = 0; n < N; ++n) {
          ASSERT_EQ(to[n * (C + 2)], 7);
          for (std::int64_t c = 0; c < C; ++c) ASSERT_EQ(to[n * (C + 2) + 1 + c], from[n * (C + 3) + 1 + c]);
          ASSERT_EQ(to[n * (C + 2) + 1 + C], 7);
        }
      }
    }
  }
}

TEST(Clear, RowsOfWiderOnesLeaveTheirNeighbours) {
  for (const auto& [N, C] : kShapes) {
    for (const int threads : {1, 3}) {
      Context context(threads);
      Owned x{N, C + 2};
      x.fill(7);
      clear(context, inside(x, C));
      for (std::int64_t n = 0; n < N; ++n) {
        ASSERT_EQ(x[n * (C + 2)], 7);
        for (std::int64_t c = 0; c < C; ++c) ASSERT_EQ(x[n * (C + 2) + 1 + c], 0);
        ASSERT_EQ(x[n * (C + 2) + 1 + C], 7);
      }
    }
  }
}

TEST(Clear, OfAnyShapeAndType) {
  Context context(3);
  for (const DType type : {DType::kFloat32, DType::kBFloat16}) {
    Owned x(type, {3, 5, 20'011});
    x.fill(7);
    clear(context, x);
    for (std::int64_t i = 0; i < x.view().count(); ++i) ASSERT_EQ(x[i], 0);
  }
}

}  // namespace
}  // namespace athanor::tensor
