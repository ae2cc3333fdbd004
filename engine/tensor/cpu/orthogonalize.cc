#include "engine/tensor/orthogonalize.h"

#include <cmath>

#include "engine/tensor/adamw.h"
#include "engine/tensor/cpu/rows.h"
#include "engine/tensor/matmul.h"

namespace athanor::tensor {

namespace {

// y = a · x + b · y, contiguous.
void combine(Context& context, double a, const Tensor& x, double b, const Tensor& y) {
  cpu::by_type(y.type(), [&]<class Element>(Element, const auto& kernels) {
    const auto* from = static_cast<const Element*>(x.data());
    auto* into = static_cast<Element*>(y.data());
    context.parallel(y.count(), 4096, [&](std::int64_t begin, std::int64_t end, int) {
      kernels.combine(end - begin, static_cast<float>(a), from + begin, static_cast<float>(b), into + begin);
    });
  });
}

}  // namespace

std::int64_t orthogonalize_scratch(std::int64_t rows, std::int64_t columns) {
  const std::int64_t side = std::min(rows, columns);
  return 2 * side * side + rows * columns;
}

void orthogonalize(Context& context, const Tensor& x, const Tensor& scratch) {
  constexpr double a = 3.4445, b = -4.7750, c = 2.0315;
  const std::int64_t M = x.dim(0), N = x.dim(1), side = std::min(M, N);
  ATHANOR_ASSERT(x.rank() == 2 && x.contiguous() && scratch.type() == x.type() && scratch.contiguous());
  ATHANOR_ASSERT(scratch.count() >= orthogonalize_scratch(M, N));
  const Tensor flat = scratch.reshaped({scratch.count()});
  const Tensor square = flat.rows(0, side * side).reshaped({side, side});                // A
  const Tensor series = flat.rows(side * side, 2 * side * side).reshaped({side, side});  // b · A + c · A²
  const Tensor product = flat.rows(2 * side * side, 2 * side * side + M * N).reshaped({M, N});

  const double norm = std::sqrt(squared_norm(context, x));
  if (norm == 0) return;
  combine(context, 1 / norm, x, 0, x);
  for (int step = 0; step < kOrthogonalizeSteps; ++step) {
    matmul(context, M <= N ? x : x.transposed(), M <= N ? x.transposed() : x, square);
    matmul(context, square, square, series);
    combine(context, b, square, c, series);
    if (M <= N) {
      matmul(context, series, x, product);
    } else {
      matmul(context, x, series, product);
    }
    combine(context, 1, product, a, x);
  }
}

}  // namespace athanor::tensor
