#include "engine/tensor/matmul.h"

#include <gtest/gtest.h>

#include "engine/tensor/test_support.h"

namespace athanor::tensor {
namespace {

struct Case {
  std::int64_t m, n, k;
};

// Every layout of both operands, adding or not, shapes from one element to several register tiles, on one and several
// threads.
TEST(Matmul, AgreesWithFloat64InEveryLayout) {
  for (const int threads : {1, 3}) {
    Context context(threads);
    for (const auto& [m, n, k] : {Case{1, 1, 1}, Case{1, 300, 70}, Case{65, 1, 33}, Case{7, 5, 1}, Case{33, 17, 129},
                                  Case{130, 96, 64}, Case{64, 200, 100}}) {
      for (int layout = 0; layout < 8; ++layout) {
        const bool a_turned = layout & 1, b_turned = layout & 2;
        const Into into = layout & 4 ? Into::kAdd : Into::kReplace;
        Owned a_memory{a_turned ? k : m, a_turned ? m : k}, b_memory{b_turned ? n : k, b_turned ? k : n}, c{m, n};
        a_memory.random(1);
        b_memory.random(2);
        c.random(3);
        const Tensor a = a_turned ? a_memory.view().transposed() : a_memory.view();
        const Tensor b = b_turned ? b_memory.view().transposed() : b_memory.view();
        std::vector<double> expected = c.doubles();
        for (std::int64_t i = 0; i < m; ++i) {
          for (std::int64_t j = 0; j < n; ++j) {
            double sum = into == Into::kAdd ? expected[static_cast<std::size_t>(i * n + j)] : 0;
            for (std::int64_t p = 0; p < k; ++p) {
              sum += static_cast<double>(a.f32()[i * a.stride(0) + p * a.stride(1)]) *
                     static_cast<double>(b.f32()[p * b.stride(0) + j * b.stride(1)]);
            }
            expected[static_cast<std::size_t>(i * n + j)] = sum;
          }
        }
        matmul(context, a, b, c, into);
        EXPECT_LT(relative_error(c, expected), kTolerance)
            << m << "x" << n << "x" << k << " layout " << layout << " threads " << threads;
      }
    }
  }
}

TEST(Matmul, WorksOnPartsOfWiderMatrices) {
  Context context(2);
  Owned wide{70, 100}, right{40, 90}, result{70, 120};
  wide.random(1);
  right.random(2);
  result.fill(5);
  matmul(context, wide.view().columns(20, 60), right, result.view().columns(10, 100));
  for (std::int64_t i = 0; i < 70; ++i) {
    double sum = 0;
    for (std::int64_t p = 0; p < 40; ++p) sum += static_cast<double>(wide[i * 100 + 20 + p]) * right[p * 90 + 3];
    EXPECT_NEAR(result[i * 120 + 13], sum, 1e-5);
    EXPECT_EQ(result[i * 120 + 9], 5.0F);
    EXPECT_EQ(result[i * 120 + 100], 5.0F);
  }
}

TEST(Matmul, IsTheSameEveryTime) {
  Context context(2);
  Owned a{100, 300}, b{300, 200}, first{100, 200}, second{100, 200};
  a.random(1);
  b.random(2);
  matmul(context, a, b, first);
  matmul(context, a, b, second);
  EXPECT_EQ(first.doubles(), second.doubles());
}

}  // namespace
}  // namespace athanor::tensor
