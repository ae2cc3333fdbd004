#include "engine/tensor/head_norm.h"

#include <algorithm>

#include "engine/tensor/cpu/rows.h"
#include "engine/tensor/operator_times.h"

namespace athanor::tensor {

using cpu::by_type;
using cpu::row;

namespace {

void assert_heads(const Tensor& x, const Tensor& gain) {
  cpu::assert_matrix(x, gain.type(), x.dim(0), x.dim(1));
  cpu::assert_vector(gain, gain.type(), gain.dim(0));
  ATHANOR_ASSERT(gain.dim(0) > 0 && x.dim(1) % gain.dim(0) == 0);
}

}  // namespace

void head_norm_forward(Context& context, const Tensor& x, const Tensor& gain, float eps, const Tensor& y) {
  const OperatorTimer timer(context, "head norm", [&] { return bytes_of(x, y); });
  assert_heads(x, gain);
  assert_heads(y, gain);
  ATHANOR_ASSERT(y.dim(0) == x.dim(0) && y.dim(1) == x.dim(1));
  const std::int64_t D = gain.dim(0), H = x.dim(1) / D;
  by_type(x.type(), [&]<class Element>(Element, const auto& kernels) {
    context.parallel(x.dim(0), cpu::grain_of(x.dim(1)), [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t n = begin; n < end; ++n) {
        kernels.head_norm_forward(H, D, row<Element>(x, n), row<Element>(gain, 0), eps, row<Element>(y, n));
      }
    });
  });
}

void head_norm_backward(Context& context, const Tensor& x, const Tensor& gain, float eps, const Tensor& dx,
                        const Tensor& d_gain, const Tensor& partial) {
  const OperatorTimer timer(context, "head norm backward", [&] { return bytes_of(x, dx, dx); });
  assert_heads(x, gain);
  assert_heads(dx, gain);
  ATHANOR_ASSERT(dx.dim(0) == x.dim(0) && dx.dim(1) == x.dim(1));
  const std::int64_t D = gain.dim(0), H = x.dim(1) / D;
  if (d_gain) cpu::assert_vector(d_gain, d_gain.type(), D);
  ATHANOR_ASSERT(partial.dim(0) >= context.threads() && partial.dim(1) == D && partial.contiguous());
  std::fill_n(partial.f32(), partial.count(), 0.0F);
  by_type(x.type(), [&]<class Element>(Element, const auto& kernels) {
    context.parallel(x.dim(0), cpu::grain_of(x.dim(1)), [&](std::int64_t begin, std::int64_t end, int thread) {
      for (std::int64_t n = begin; n < end; ++n) {
        kernels.head_norm_backward(H, D, row<Element>(x, n), row<Element>(gain, 0), eps, row<Element>(dx, n),
                                   row<float>(partial, thread));
      }
    });
  });
  if (!d_gain) return;
  for (int thread = 1; thread < context.threads(); ++thread) {
    cpu::kernels().f32.add_floats(D, row<float>(partial, thread), row<float>(partial, 0));
  }
  by_type(d_gain.type(), [&]<class Element>(Element, const auto& kernels) {
    kernels.add_floats(D, row<float>(partial, 0), row<Element>(d_gain, 0));
  });
}

}  // namespace athanor::tensor
