#include "engine/tensor/operator_times.h"

#include <gtest/gtest.h>

#include "engine/tensor/attention.h"
#include "engine/tensor/cross_entropy.h"
#include "engine/tensor/matmul.h"
#include "engine/tensor/swiglu.h"
#include "engine/tensor/test_support.h"

namespace athanor::tensor {
namespace {

TEST(OperatorTimes, CountCallsTimeAndWorkByName) {
  VirtualClock clock(0);
  OperatorTimes times(clock);
  Context context(2);
  context.record(&times);
  for (const int ms : {2, 3}) {
    const OperatorTimer timer(context, "slow", [] { return Work{.bytes = 10, .flops = 100}; });
    clock.advance_ms(ms);
  }
  {
    const OperatorTimer timer(context, "quick", [] { return Work{}; });
  }
  ASSERT_EQ(times.all().size(), 2u);
  EXPECT_EQ(times.all()[0].name, "slow");
  EXPECT_EQ(times.all()[0].calls, 2);
  EXPECT_NEAR(times.all()[0].seconds, 0.005, 1e-12);
  EXPECT_EQ(times.all()[0].work.bytes, 20);
  EXPECT_EQ(times.all()[0].work.flops, 200);
  EXPECT_EQ(times.all()[1].name, "quick");
  times.clear();
  EXPECT_TRUE(times.all().empty());
}

TEST(OperatorTimes, AnOperatorOfOthersHasTheirTimeAlone) {
  VirtualClock clock(0);
  OperatorTimes times(clock);
  Context context(1);
  context.record(&times);
  {
    const OperatorTimer outer(context, "outer", [] { return Work{.bytes = 1}; });
    const OperatorTimer inner(context, "inner", [] { return Work{.bytes = 100}; });
    clock.advance_ms(1);
  }
  ASSERT_EQ(times.all().size(), 1u);
  EXPECT_EQ(times.all()[0].name, "outer");
  EXPECT_EQ(times.all()[0].work.bytes, 1);
  EXPECT_NEAR(times.all()[0].seconds, 0.001, 1e-12);
}

TEST(OperatorTimes, NothingIsRecordedUnlessAsked) {
  Context context(1);
  bool asked = false;
  const OperatorTimer timer(context, "any", [&] {
    asked = true;
    return Work{};
  });
  EXPECT_FALSE(asked);
}

const OperatorTime& only(const OperatorTimes& times) {
  EXPECT_EQ(times.all().size(), 1u);
  return times.all().back();
}

TEST(OperatorTimes, TheWorkOfOperatorsIsThatOfTheirShapes) {
  const SystemClock clock;
  OperatorTimes times(clock);
  Context context(2);
  context.record(&times);
  const std::int64_t B = 2, T = 5, H = 4, G = 2, D = 8;

  Owned gate_up{7, 12}, hidden{7, 6};
  gate_up.random(1, 1);
  swiglu_forward(context, gate_up, hidden);
  EXPECT_EQ(only(times).name, "swiglu");
  EXPECT_EQ(only(times).work.bytes, 4 * 7 * 18);
  EXPECT_EQ(only(times).work.flops, 0);
  times.clear();

  Owned a{3, 5}, b{5, 2}, c{3, 2};
  matmul(context, a, b, c);
  EXPECT_EQ(only(times).work.bytes, 4 * (15 + 10 + 6));
  EXPECT_EQ(only(times).work.flops, 2 * 3 * 5 * 2);
  matmul(context, a, b, c, Into::kAdd);
  EXPECT_EQ(only(times).calls, 2);
  EXPECT_EQ(only(times).work.bytes, 4 * (2 * (15 + 10 + 6) + 6));
  times.clear();

  Owned x{6, 3}, w{10, 3}, logits{4, 10}, dx{6, 3}, dw{10, 3};
  std::vector<std::int32_t> targets(6, 1);
  cross_entropy_forward_backward(context, x, w.view(), Tensor::of(targets.data(), {6}), 1, logits, dx, dw);
  EXPECT_EQ(only(times).name, "head and cross-entropy, with gradients");  // its products are its own
  EXPECT_EQ(only(times).work.flops, 3 * 2 * 6 * 10 * 3);
  times.clear();

  Owned q{B * T, H * D}, k{B * T, G * D}, v{B * T, G * D}, o{B * T, H * D}, lse{B, H, T};
  AttentionShape shape{B, T, H, G, D};
  Owned scratch{2, attention_scratch_floats(shape, false)};
  attention_forward(context, shape, q, k, v, o, lse, scratch);
  const double pair = 2 * 2 * D;  // two products of D multiplications and additions
  EXPECT_EQ(only(times).work.flops, B * H * pair * (1 + 2 + 3 + 4 + 5));
  times.clear();
  shape.window = 2;
  attention_forward(context, shape, q, k, v, o, lse, scratch);
  EXPECT_EQ(only(times).work.flops, B * H * pair * (1 + 2 + 2 + 2 + 2));
  times.clear();
  shape.window = 0;
  std::vector<std::int32_t> starts{0, 0, 0, 3, 3, 0, 1, 1, 1, 1};
  attention_forward(context, shape, q, k, v, o, lse, scratch, Tensor::of(starts.data(), {B, T}));
  EXPECT_EQ(only(times).work.flops, H * pair * ((1 + 2 + 3 + 1 + 2) + (1 + 1 + 2 + 3 + 4)));
}

}  // namespace
}  // namespace athanor::tensor
