// The operators that only check shapes and divide rows among threads; the mathematics is in their headers, the loops in
// kernels.inc.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "engine/tensor/cpu/rows.h"
#include "engine/tensor/embedding.h"
#include "engine/tensor/operator_times.h"
#include "engine/tensor/rmsnorm.h"
#include "engine/tensor/rope.h"
#include "engine/tensor/swiglu.h"

namespace athanor::tensor {

using cpu::assert_matrix;
using cpu::assert_vector;
using cpu::by_type;
using cpu::grain_of;
using cpu::row;

void embedding_forward(Context& context, const Tensor& tokens, const Tensor& table, const Tensor& x) {
  const OperatorTimer timer(context, "embedding", [&] { return bytes_of(tokens, x, x); });
  const std::int64_t N = tokens.count(), V = table.dim(0), C = table.dim(1);
  assert_matrix(table, x.type(), V, C);
  assert_matrix(x, x.type(), N, C);
  const std::int32_t* ids = tokens.ints().data();
  by_type(x.type(), [&]<class Element>(Element, const auto&) {
    context.parallel(N, grain_of(C), [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t n = begin; n < end; ++n) {
        ATHANOR_ASSERT(ids[n] >= 0 && ids[n] < V);
        std::memcpy(row<Element>(x, n), row<Element>(table, ids[n]), static_cast<std::size_t>(C) * sizeof(Element));
      }
    });
  });
}

// Threads take columns, not rows: two rows may be the same token's. The rows of a token are summed in float32 before
// they are added, so that a table of bfloat16 is rounded once.
void embedding_backward(Context& context, const Tensor& tokens, const Tensor& dx, const Tensor& d_table) {
  const OperatorTimer timer(context, "embedding backward", [&] { return bytes_of(tokens, dx, dx, dx); });
  const std::int64_t N = tokens.count(), V = d_table.dim(0), C = d_table.dim(1);
  assert_matrix(d_table, d_table.type(), V, C);
  assert_matrix(dx, dx.type(), N, C);
  const std::int32_t* ids = tokens.ints().data();
  std::vector<std::int32_t> order(static_cast<std::size_t>(N));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) { return ids[a] < ids[b]; });
  constexpr std::int64_t kColumns = 256;
  by_type(dx.type(), [&]<class From>(From, const auto& from) {
    by_type(d_table.type(), [&]<class Into>(Into, const auto& into) {
      context.parallel(C, 64, [&](std::int64_t begin, std::int64_t end, int) {
        float sum[kColumns];
        for (std::int64_t c = begin; c < end; c += kColumns) {
          const std::int64_t columns = std::min(kColumns, end - c);
          for (std::size_t n = 0; n < order.size();) {
            const std::int32_t id = ids[order[n]];
            ATHANOR_ASSERT(id >= 0 && id < V);
            std::fill_n(sum, columns, 0.0F);
            for (; n < order.size() && ids[order[n]] == id; ++n) {
              from.add_to_floats(columns, row<From>(dx, order[n]) + c, sum);
            }
            into.add_floats(columns, sum, row<Into>(d_table, id) + c);
          }
        }
      });
    });
  });
}

void rmsnorm_forward(Context& context, const Tensor& x, const Tensor& gain, float eps, const Tensor& y,
                     const Tensor& r) {
  const OperatorTimer timer(context, "rmsnorm", [&] { return bytes_of(x, y, r); });
  const std::int64_t N = x.dim(0), C = x.dim(1);
  for (const Tensor& matrix : {x, y}) assert_matrix(matrix, x.type(), N, C);
  assert_vector(gain, x.type(), C);
  assert_vector(r, DType::kFloat32, N);
  by_type(x.type(), [&]<class Element>(Element, const auto& kernels) {
    context.parallel(N, grain_of(C), [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t n = begin; n < end; ++n) {
        kernels.rmsnorm_forward(C, row<Element>(x, n), row<Element>(gain, 0), eps, row<Element>(y, n), r.f32() + n);
      }
    });
  });
}

void add_rmsnorm_forward(Context& context, const Tensor& x, const Tensor& delta, const Tensor& gain, float eps,
                         const Tensor& sum, const Tensor& y, const Tensor& r) {
  const OperatorTimer timer(context, "add and rmsnorm", [&] { return bytes_of(x, delta, sum, y, r); });
  const std::int64_t N = x.dim(0), C = x.dim(1);
  for (const Tensor& matrix : {x, delta, sum, y}) assert_matrix(matrix, x.type(), N, C);
  assert_vector(gain, x.type(), C);
  assert_vector(r, DType::kFloat32, N);
  by_type(x.type(), [&]<class Element>(Element, const auto& kernels) {
    context.parallel(N, grain_of(C), [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t n = begin; n < end; ++n) {
        kernels.add_rmsnorm_forward(C, row<Element>(x, n), row<Element>(delta, n), row<Element>(gain, 0), eps,
                                    row<Element>(sum, n), row<Element>(y, n), r.f32() + n);
      }
    });
  });
}

void rmsnorm_backward(Context& context, const Tensor& x, const Tensor& gain, const Tensor& r, const Tensor& dy,
                      const Tensor& dx, const Tensor& d_gain, const Tensor& partial) {
  const OperatorTimer timer(context, "rmsnorm backward", [&] { return bytes_of(x, dy, dx, dx, r); });
  const std::int64_t N = x.dim(0), C = x.dim(1);
  for (const Tensor& matrix : {x, dy, dx}) assert_matrix(matrix, x.type(), N, C);
  assert_matrix(partial, DType::kFloat32, context.threads(), C);
  assert_vector(gain, x.type(), C);
  if (d_gain) assert_vector(d_gain, d_gain.type(), C);
  assert_vector(r, DType::kFloat32, N);
  for (int thread = 0; thread < context.threads(); ++thread) std::fill_n(row<float>(partial, thread), C, 0.0F);
  by_type(x.type(), [&]<class Element>(Element, const auto& kernels) {
    context.parallel(N, grain_of(C), [&](std::int64_t begin, std::int64_t end, int thread) {
      for (std::int64_t n = begin; n < end; ++n) {
        kernels.rmsnorm_backward(C, row<Element>(x, n), row<Element>(gain, 0), r.f32()[n], row<Element>(dy, n),
                                 row<Element>(dx, n), row<float>(partial, thread));
      }
    });
  });
  if (!d_gain) return;
  for (int thread = 1; thread < context.threads(); ++thread) {
    cpu::kernels().f32.add_floats(C, row<float>(partial, thread), row<float>(partial, 0));
  }
  by_type(d_gain.type(), [&]<class Element>(Element, const auto& kernels) {
    kernels.add_floats(C, row<float>(partial, 0), row<Element>(d_gain, 0));
  });
}

void rope(Context& context, const Tensor& x, std::int64_t head_dim, std::int64_t length, std::int64_t first,
          const Tensor& cos, const Tensor& sin, Turn turn) {
  const OperatorTimer timer(context, "rope", [&] { return bytes_of(x, x); });
  const std::int64_t N = x.dim(0), half = head_dim / 2;
  ATHANOR_ASSERT(x.rank() == 2 && x.stride(1) == 1 && head_dim % 2 == 0 && x.dim(1) % head_dim == 0);
  ATHANOR_ASSERT(cos.dim(1) == half && sin.dim(1) == half && length > 0 && first >= 0);
  ATHANOR_ASSERT(first + std::min(length, N) <= cos.dim(0));
  const float direction = turn == Turn::kForward ? 1.0F : -1.0F;
  by_type(x.type(), [&]<class Element>(Element, const auto& kernels) {
    context.parallel(N, grain_of(x.dim(1)), [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t n = begin; n < end; ++n) {
        const std::int64_t position = first + n % length;
        kernels.rope(x.dim(1) / head_dim, head_dim, cos.f32() + position * half, sin.f32() + position * half, direction,
                     row<Element>(x, n));
      }
    });
  });
}

void swiglu_forward(Context& context, const Tensor& gate_up, const Tensor& y) {
  const OperatorTimer timer(context, "swiglu", [&] { return bytes_of(gate_up, y); });
  const std::int64_t N = y.dim(0), F = y.dim(1);
  assert_matrix(y, y.type(), N, F);
  assert_matrix(gate_up, y.type(), N, 2 * F);
  by_type(y.type(), [&]<class Element>(Element, const auto& kernels) {
    context.parallel(N, grain_of(F), [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t n = begin; n < end; ++n) {
        kernels.swiglu_forward(F, row<Element>(gate_up, n), row<Element>(y, n));
      }
    });
  });
}

void swiglu_backward(Context& context, const Tensor& gate_up, const Tensor& dy) {
  const OperatorTimer timer(context, "swiglu backward", [&] { return bytes_of(gate_up, gate_up, dy); });
  const std::int64_t N = dy.dim(0), F = dy.dim(1);
  assert_matrix(dy, dy.type(), N, F);
  assert_matrix(gate_up, dy.type(), N, 2 * F);
  by_type(dy.type(), [&]<class Element>(Element, const auto& kernels) {
    context.parallel(N, grain_of(F), [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t n = begin; n < end; ++n) {
        kernels.swiglu_backward(F, row<Element>(gate_up, n), row<Element>(dy, n));
      }
    });
  });
}

}  // namespace athanor::tensor
