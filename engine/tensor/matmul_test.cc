#include "engine/tensor/matmul.h"

#include <gtest/gtest.h>

#include "engine/tensor/test_support.h"

namespace athanor::tensor {
namespace {

struct Case {
  std::int64_t m, n, k;
};

struct Types {
  DType operands, result;
};
constexpr Types kTypes[] = {{DType::kFloat32, DType::kFloat32},
                            {DType::kFloat32, DType::kBFloat16},
                            {DType::kBFloat16, DType::kFloat32},
                            {DType::kBFloat16, DType::kBFloat16}};

double element(const Tensor& x, std::int64_t i, std::int64_t j) {
  const std::int64_t at = i * x.stride(0) + j * x.stride(1);
  return x.type() == DType::kBFloat16 ? static_cast<float>(x.bf16()[at]) : x.f32()[at];
}

void compare(Context& context, const Types& types, const Case& shape, int layout) {
  const auto [m, n, k] = shape;
  const bool a_turned = layout & 1, b_turned = layout & 2;
  const Into into = layout & 4 ? Into::kAdd : Into::kReplace;
  Owned a_memory(types.operands, {a_turned ? k : m, a_turned ? m : k});
  Owned b_memory(types.operands, {b_turned ? n : k, b_turned ? k : n});
  Owned c(types.result, {m, n});
  a_memory.random(1);
  b_memory.random(2);
  c.random(3);
  const Tensor a = a_turned ? a_memory.view().transposed() : a_memory.view();
  const Tensor b = b_turned ? b_memory.view().transposed() : b_memory.view();
  std::vector<double> expected = c.doubles();
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = into == Into::kAdd ? expected[static_cast<std::size_t>(i * n + j)] : 0;
      for (std::int64_t p = 0; p < k; ++p) sum += element(a, i, p) * element(b, p, j);
      expected[static_cast<std::size_t>(i * n + j)] = sum;
    }
  }
  matmul(context, a, b, c, into);
  EXPECT_LT(relative_error(c, expected), tolerance_of(types.result))
      << name_of(types.operands) << " to " << name_of(types.result) << ", " << m << "x" << n << "x" << k << " layout "
      << layout << " threads " << context.threads();
}

// Every layout of both operands, adding or not, shapes from one element to several register tiles, on one and several
// threads.
TEST(Matmul, AgreesWithFloat64InEveryLayoutAndType) {
  for (const int threads : {1, 3}) {
    Context context(threads);
    for (const Types& types : kTypes) {
      for (const Case& shape : {Case{1, 1, 1}, Case{1, 300, 70}, Case{3, 70, 129}, Case{65, 1, 33}, Case{7, 5, 1},
                                Case{33, 17, 129}, Case{130, 96, 64}, Case{64, 200, 100}}) {
        for (int layout = 0; layout < 8; ++layout) compare(context, types, shape, layout);
      }
    }
  }
}

// More rows, columns and terms than one block of the product has, none of them a multiple of anything.
TEST(Matmul, AgreesWithFloat64BeyondItsBlocks) {
  Context context(1);
  for (const Types& types : kTypes) {
    for (const Case& shape : {Case{1009, 37, 19}, Case{29, 2061, 13}, Case{25, 35, 1999}}) {
      for (int layout = 0; layout < 8; ++layout) compare(context, types, shape, layout);
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
