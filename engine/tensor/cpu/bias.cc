#include "engine/tensor/bias.h"

#include <algorithm>

#include "engine/tensor/cpu/rows.h"
#include "engine/tensor/operator_times.h"

namespace athanor::tensor {

using cpu::by_type;
using cpu::row;

void bias_forward(Context& context, const Tensor& bias, const Tensor& x) {
  const OperatorTimer timer(context, "bias", [&] { return bytes_of(x, x); });
  const std::int64_t N = x.dim(0), C = x.dim(1);
  cpu::assert_matrix(x, x.type(), N, C);
  cpu::assert_vector(bias, x.type(), C);
  by_type(x.type(), [&]<class Element>(Element, const auto& kernels) {
    context.parallel(N, cpu::grain_of(C), [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t n = begin; n < end; ++n) {
        kernels.combine(C, 1.0F, row<Element>(bias, 0), 1.0F, row<Element>(x, n));
      }
    });
  });
}

// Threads take columns, each the sum of its own over all rows.
void bias_backward(Context& context, const Tensor& dy, const Tensor& d_bias) {
  const OperatorTimer timer(context, "bias backward", [&] { return bytes_of(dy); });
  const std::int64_t N = dy.dim(0), C = dy.dim(1);
  cpu::assert_matrix(dy, dy.type(), N, C);
  cpu::assert_vector(d_bias, d_bias.type(), C);
  constexpr std::int64_t kColumns = 64;
  by_type(dy.type(), [&]<class From>(From, const auto& from) {
    by_type(d_bias.type(), [&]<class Into>(Into, const auto& into) {
      context.parallel(C, kColumns, [&](std::int64_t begin, std::int64_t end, int) {
        float sum[kColumns];
        for (std::int64_t c = begin; c < end; c += kColumns) {
          const std::int64_t columns = std::min(kColumns, end - c);
          std::fill_n(sum, columns, 0.0F);
          for (std::int64_t n = 0; n < N; ++n) from.add_to_floats(columns, row<From>(dy, n) + c, sum);
          into.add_floats(columns, sum, row<Into>(d_bias, 0) + c);
        }
      });
    });
  });
}

}  // namespace athanor::tensor
