#include "engine/tensor/bias.h"

#include <algorithm>

#include "engine/tensor/cpu/kernels.h"

namespace athanor::tensor {

namespace {

void assert_bias(const Tensor& bias, const Tensor& x) {
  ATHANOR_ASSERT(x.type() == DType::kFloat32 && x.rank() == 2 && x.stride(1) == 1);
  ATHANOR_ASSERT(bias.type() == DType::kFloat32 && bias.rank() == 1 && bias.contiguous() && bias.dim(0) == x.dim(1));
}

}  // namespace

void bias_forward(Context& context, const Tensor& bias, const Tensor& x) {
  assert_bias(bias, x);
  const std::int64_t C = x.dim(1), grain = std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, C));
  context.parallel(x.dim(0), grain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t n = begin; n < end; ++n) cpu::kernels().add(C, bias.f32(), x.f32() + n * x.stride(0));
  });
}

// Threads take columns, each the sum of its own over all rows.
void bias_backward(Context& context, const Tensor& dy, const Tensor& d_bias) {
  assert_bias(d_bias, dy);
  context.parallel(dy.dim(1), 64, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t n = 0; n < dy.dim(0); ++n) {
      cpu::kernels().add(end - begin, dy.f32() + n * dy.stride(0) + begin, d_bias.f32() + begin);
    }
  });
}

}  // namespace athanor::tensor
