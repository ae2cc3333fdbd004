#include "engine/tensor/scale.h"

#include "engine/tensor/cpu/rows.h"
#include "engine/tensor/operator_times.h"

namespace athanor::tensor {

void scale(Context& context, float factor, const Tensor& x) {
  const OperatorTimer timer(context, "scale", [&] { return bytes_of(x, x); });
  const std::int64_t N = x.dim(0), C = x.dim(1);
  cpu::assert_matrix(x, x.type(), N, C);
  if (factor == 1) return;
  cpu::by_type(x.type(), [&]<class Element>(Element, const auto& kernels) {
    context.parallel(N, cpu::grain_of(C), [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t n = begin; n < end; ++n) {
        Element* row = cpu::row<Element>(x, n);
        kernels.combine(C, factor, row, 0, row);
      }
    });
  });
}

}  // namespace athanor::tensor
