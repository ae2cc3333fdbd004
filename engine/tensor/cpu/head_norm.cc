#include "engine/tensor/head_norm.h"

#include <algorithm>

#include "engine/tensor/cpu/kernels.h"

namespace athanor::tensor {

namespace {

void assert_heads(const Tensor& x, const Tensor& gain) {
  ATHANOR_ASSERT(x.type() == DType::kFloat32 && x.rank() == 2 && x.stride(1) == 1);
  ATHANOR_ASSERT(gain.type() == DType::kFloat32 && gain.rank() == 1 && gain.contiguous());
  ATHANOR_ASSERT(gain.dim(0) > 0 && x.dim(1) % gain.dim(0) == 0);
}

std::int64_t grain_of(const Tensor& x) { return std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, x.dim(1))); }

}  // namespace

void head_norm_forward(Context& context, const Tensor& x, const Tensor& gain, float eps, const Tensor& y) {
  assert_heads(x, gain);
  assert_heads(y, gain);
  ATHANOR_ASSERT(y.dim(0) == x.dim(0) && y.dim(1) == x.dim(1));
  const std::int64_t D = gain.dim(0), H = x.dim(1) / D;
  context.parallel(x.dim(0), grain_of(x), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t n = begin; n < end; ++n) {
      cpu::kernels().head_norm_forward(H, D, x.f32() + n * x.stride(0), gain.f32(), eps, y.f32() + n * y.stride(0));
    }
  });
}

void head_norm_backward(Context& context, const Tensor& x, const Tensor& gain, float eps, const Tensor& dx,
                        const Tensor& d_gain, const Tensor& partial) {
  assert_heads(x, gain);
  assert_heads(dx, gain);
  ATHANOR_ASSERT(dx.dim(0) == x.dim(0) && dx.dim(1) == x.dim(1));
  const std::int64_t D = gain.dim(0), H = x.dim(1) / D;
  ATHANOR_ASSERT(d_gain.count() == D && d_gain.contiguous());
  ATHANOR_ASSERT(partial.dim(0) >= context.threads() && partial.dim(1) == D && partial.contiguous());
  std::fill_n(partial.f32(), partial.count(), 0.0F);
  context.parallel(x.dim(0), grain_of(x), [&](std::int64_t begin, std::int64_t end, int thread) {
    for (std::int64_t n = begin; n < end; ++n) {
      cpu::kernels().head_norm_backward(H, D, x.f32() + n * x.stride(0), gain.f32(), eps, dx.f32() + n * dx.stride(0),
                                        partial.f32() + thread * D);
    }
  });
  for (int thread = 0; thread < context.threads(); ++thread) cpu::kernels().add(D, partial.f32() + thread * D, d_gain.f32());
}

}  // namespace athanor::tensor
