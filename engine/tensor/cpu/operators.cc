// The operators that only check shapes and divide rows among threads; the mathematics is in their headers, the loops in
// kernels.inc.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "engine/tensor/adamw.h"
#include "engine/tensor/cpu/kernels.h"
#include "engine/tensor/embedding.h"
#include "engine/tensor/rmsnorm.h"
#include "engine/tensor/rope.h"
#include "engine/tensor/swiglu.h"

namespace athanor::tensor {

namespace {

// Rows that make a thread's work worth its waking: about 4096 elements.
std::int64_t grain_of(std::int64_t columns) { return std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, columns)); }

void assert_matrix(const Tensor& x, std::int64_t rows, std::int64_t columns) {
  ATHANOR_ASSERT(x.type() == DType::kFloat32 && x.rank() == 2 && x.stride(1) == 1);
  ATHANOR_ASSERT(x.dim(0) == rows && x.dim(1) == columns);
}

float* row(const Tensor& x, std::int64_t n) { return x.f32() + n * x.stride(0); }

void assert_vector(const Tensor& x, std::int64_t count) {
  ATHANOR_ASSERT(x.type() == DType::kFloat32 && x.rank() == 1 && x.contiguous() && x.dim(0) == count);
}

}  // namespace

void embedding_forward(Context& context, const Tensor& tokens, const Tensor& table, const Tensor& x) {
  const std::int64_t N = tokens.count(), V = table.dim(0), C = table.dim(1);
  assert_matrix(table, V, C);
  assert_matrix(x, N, C);
  const std::int32_t* ids = tokens.ints().data();
  context.parallel(N, grain_of(C), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t n = begin; n < end; ++n) {
      ATHANOR_ASSERT(ids[n] >= 0 && ids[n] < V);
      std::memcpy(row(x, n), row(table, ids[n]), static_cast<std::size_t>(C) * sizeof(float));
    }
  });
}

// Threads take columns, not rows: two rows may be the same token's.
void embedding_backward(Context& context, const Tensor& tokens, const Tensor& dx, const Tensor& d_table) {
  const std::int64_t N = tokens.count(), V = d_table.dim(0), C = d_table.dim(1);
  assert_matrix(d_table, V, C);
  assert_matrix(dx, N, C);
  const std::int32_t* ids = tokens.ints().data();
  context.parallel(C, 64, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t n = 0; n < N; ++n) {
      ATHANOR_ASSERT(ids[n] >= 0 && ids[n] < V);
      cpu::kernels().add(end - begin, row(dx, n) + begin, row(d_table, ids[n]) + begin);
    }
  });
}

void rmsnorm_forward(Context& context, const Tensor& x, const Tensor& gain, float eps, const Tensor& y,
                     const Tensor& r) {
  const std::int64_t N = x.dim(0), C = x.dim(1);
  assert_matrix(x, N, C);
  assert_matrix(y, N, C);
  assert_vector(gain, C);
  assert_vector(r, N);
  context.parallel(N, grain_of(C), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t n = begin; n < end; ++n) {
      cpu::kernels().rmsnorm_forward(C, row(x, n), gain.f32(), eps, row(y, n), r.f32() + n);
    }
  });
}

void add_rmsnorm_forward(Context& context, const Tensor& x, const Tensor& delta, const Tensor& gain, float eps,
                         const Tensor& sum, const Tensor& y, const Tensor& r) {
  const std::int64_t N = x.dim(0), C = x.dim(1);
  for (const Tensor& matrix : {x, delta, sum, y}) assert_matrix(matrix, N, C);
  assert_vector(gain, C);
  assert_vector(r, N);
  context.parallel(N, grain_of(C), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t n = begin; n < end; ++n) {
      cpu::kernels().add_rmsnorm_forward(C, row(x, n), row(delta, n), gain.f32(), eps, row(sum, n), row(y, n),
                                         r.f32() + n);
    }
  });
}

void rmsnorm_backward(Context& context, const Tensor& x, const Tensor& gain, const Tensor& r, const Tensor& dy,
                      const Tensor& dx, const Tensor& d_gain, const Tensor& partial) {
  const std::int64_t N = x.dim(0), C = x.dim(1);
  for (const Tensor& matrix : {x, dy, dx}) assert_matrix(matrix, N, C);
  assert_matrix(partial, context.threads(), C);
  assert_vector(gain, C);
  assert_vector(d_gain, C);
  assert_vector(r, N);
  for (int thread = 0; thread < context.threads(); ++thread) std::fill_n(row(partial, thread), C, 0.0F);
  context.parallel(N, grain_of(C), [&](std::int64_t begin, std::int64_t end, int thread) {
    for (std::int64_t n = begin; n < end; ++n) {
      cpu::kernels().rmsnorm_backward(C, row(x, n), gain.f32(), r.f32()[n], row(dy, n), row(dx, n), row(partial, thread));
    }
  });
  for (int thread = 0; thread < context.threads(); ++thread) {
    cpu::kernels().add(C, row(partial, thread), d_gain.f32());
  }
}

void rope(Context& context, const Tensor& x, std::int64_t head_dim, std::int64_t length, std::int64_t first,
          const Tensor& cos, const Tensor& sin, Turn turn) {
  const std::int64_t N = x.dim(0), half = head_dim / 2;
  ATHANOR_ASSERT(x.rank() == 2 && x.stride(1) == 1 && head_dim % 2 == 0 && x.dim(1) % head_dim == 0);
  ATHANOR_ASSERT(cos.dim(1) == half && sin.dim(1) == half && length > 0 && first >= 0);
  ATHANOR_ASSERT(first + std::min(length, N) <= cos.dim(0));
  const float direction = turn == Turn::kForward ? 1.0F : -1.0F;
  context.parallel(N, grain_of(x.dim(1)), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t n = begin; n < end; ++n) {
      const std::int64_t position = first + n % length;
      cpu::kernels().rope(x.dim(1) / head_dim, head_dim, cos.f32() + position * half, sin.f32() + position * half,
                          direction, row(x, n));
    }
  });
}

void swiglu_forward(Context& context, const Tensor& gate_up, const Tensor& y) {
  const std::int64_t N = y.dim(0), F = y.dim(1);
  assert_matrix(y, N, F);
  assert_matrix(gate_up, N, 2 * F);
  context.parallel(N, grain_of(F), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t n = begin; n < end; ++n) cpu::kernels().swiglu_forward(F, row(gate_up, n), row(y, n));
  });
}

void swiglu_backward(Context& context, const Tensor& gate_up, const Tensor& dy) {
  const std::int64_t N = dy.dim(0), F = dy.dim(1);
  assert_matrix(dy, N, F);
  assert_matrix(gate_up, N, 2 * F);
  context.parallel(N, grain_of(F), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t n = begin; n < end; ++n) cpu::kernels().swiglu_backward(F, row(gate_up, n), row(dy, n));
  });
}

void adamw(Context& context, const AdamW& how, const Tensor& parameters, const Tensor& gradients, const Tensor& m,
           const Tensor& v) {
  const std::int64_t count = parameters.count();
  ATHANOR_ASSERT(gradients.count() == count && m.count() == count && v.count() == count && how.step >= 1);
  const double correction1 = 1 - std::pow(how.beta1, static_cast<double>(how.step));
  const double correction2 = 1 - std::pow(how.beta2, static_cast<double>(how.step));
  const cpu::AdamWStep step{
      .keep = static_cast<float>(1 - how.rate * how.weight_decay),
      .beta1 = static_cast<float>(how.beta1),
      .rest1 = static_cast<float>(1 - how.beta1),
      .beta2 = static_cast<float>(how.beta2),
      .rest2 = static_cast<float>(1 - how.beta2),
      .step_size = static_cast<float>(how.rate / correction1),
      .root_correction = static_cast<float>(1 / std::sqrt(correction2)),
      .eps = static_cast<float>(how.eps),
      .gradient_scale = static_cast<float>(how.gradient_scale),
  };
  float* p = parameters.floats().data();
  const float* g = gradients.floats().data();
  float* m_data = m.floats().data();
  float* v_data = v.floats().data();
  context.parallel(count, 4096, [&](std::int64_t begin, std::int64_t end, int) {
    cpu::kernels().adamw(end - begin, step, g + begin, p + begin, m_data + begin, v_data + begin);
  });
}

// Always the same blocks, whose sums are added in order, whatever the number of threads.
double squared_norm(Context& context, const Tensor& x) {
  constexpr std::int64_t kBlocks = 256;
  const std::span<const float> values = x.floats();
  const auto count = static_cast<std::int64_t>(values.size());
  const std::int64_t block = (count + kBlocks - 1) / kBlocks;
  std::array<double, kBlocks> sums{};
  context.parallel(kBlocks, std::max<std::int64_t>(1, kBlocks * 4096 / std::max<std::int64_t>(1, count)),
                   [&](std::int64_t begin, std::int64_t end, int) {
                     for (std::int64_t i = begin; i < end; ++i) {
                       const std::int64_t from = std::min(i * block, count);
                       const std::int64_t to = std::min(from + block, count);
                       sums[static_cast<std::size_t>(i)] = cpu::kernels().squared_norm(to - from, values.data() + from);
                     }
                   });
  double sum = 0;
  for (const double part : sums) sum += part;
  return sum;
}

}  // namespace athanor::tensor
