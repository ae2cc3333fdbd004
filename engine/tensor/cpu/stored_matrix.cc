#include "engine/tensor/stored_matrix.h"

#include <algorithm>

#include "engine/tensor/cpu/rows.h"
#include "engine/tensor/matmul.h"
#include "engine/tensor/operator_times.h"

namespace athanor::tensor {

namespace {

// Up to so many rows of x, a walk over W is faster than widening it for a product.
constexpr std::int64_t kWalkRows = 16;
// Rows of W that are widened at once.
constexpr std::int64_t kWidenedRows = 512;
constexpr std::int64_t kBlock = cpu::kStoredBlock;
// Rows of W that make a thread's work worth its waking.
constexpr std::int64_t kGrain = 16;

bool quantized(const StoredMatrix& matrix) { return matrix.kind == Stored::kNibbles || matrix.kind == Stored::kBytes; }

// Sums of the blocks of x.
std::int64_t floats_of_x(std::int64_t rows, std::int64_t columns) { return rows * (columns / kBlock); }

void widen_row(const StoredMatrix& matrix, std::int64_t r, float* into) {
  ATHANOR_ASSERT(r >= 0 && r < matrix.rows);
  cpu::kernels().widen_stored(static_cast<int>(matrix.kind), matrix.wide, matrix.group, matrix.columns, matrix.row(r),
                              into);
}

void walk(Context& context, const Tensor& x, std::span<const StoredMatrix> matrices, std::int64_t total,
          const Tensor& y, float* scratch) {
  const std::int64_t N = x.dim(0), K = x.dim(1);
  cpu::StoredTask common{.columns = K, .x_rows = N, .x = x.f32(), .x_stride = x.stride(0), .y_stride = y.stride(0)};
  if (std::any_of(matrices.begin(), matrices.end(), [](const auto& m) { return m.kind == Stored::kNibbles; })) {
    common.sums = scratch;
    for (std::int64_t n = 0; n < N; ++n) {
      cpu::kernels().sum_blocks(K, x.f32() + n * x.stride(0), scratch + n * (K / kBlock));
    }
  }
  const std::int64_t threads_floats = cpu::stored_thread_floats(K);
  float* const of_threads = scratch + floats_of_x(kWalkRows, K);
  context.parallel(total, kGrain, [&](std::int64_t begin, std::int64_t end, int thread) {
    std::int64_t first = 0;  // the matrix's first column of y
    for (const StoredMatrix& matrix : matrices) {
      const std::int64_t from = std::max(begin, first), to = std::min(end, first + matrix.rows);
      if (from < to) {
        cpu::StoredTask task = common;
        task.kind = static_cast<int>(matrix.kind);
        task.wide = matrix.wide;
        task.group = matrix.group;
        task.rows = matrix.row(from - first);
        task.row_bytes = matrix.row_bytes();
        task.count = to - from;
        task.y = y.f32() + from;
        task.scratch = of_threads + thread * threads_floats;
        cpu::kernels().stored_rows(task);
      }
      first += matrix.rows;
    }
  });
}

}  // namespace

std::int64_t StoredMatrix::row_bytes() const {
  const std::int64_t scale = wide ? 4 : 2;
  switch (kind) {
    case Stored::kFloat32: return columns * 4;
    case Stored::kBFloat16:
    case Stored::kFloat16: return columns * 2;
    case Stored::kNibbles: return columns / 2 + columns / group * 2 * scale;
    case Stored::kBytes: return columns + columns / group * scale;
  }
  return 0;
}

StoredMatrix StoredMatrix::of(const Tensor& matrix) {
  ATHANOR_ASSERT(matrix.rank() == 2 && matrix.contiguous());
  ATHANOR_ASSERT(matrix.type() == DType::kFloat32 || matrix.type() == DType::kBFloat16);
  return {.kind = matrix.type() == DType::kFloat32 ? Stored::kFloat32 : Stored::kBFloat16,
          .rows = matrix.dim(0),
          .columns = matrix.dim(1),
          .data = matrix.data()};
}

void stored_rows(Context& context, const StoredMatrix& matrix, std::span<const std::int32_t> rows, const Tensor& x) {
  const OperatorTimer timer(context, "embedding", [&] { return bytes_of(x, x); });
  cpu::assert_matrix(x, DType::kFloat32, static_cast<std::int64_t>(rows.size()), matrix.columns);
  context.parallel(x.dim(0), cpu::grain_of(matrix.columns), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t n = begin; n < end; ++n) {
      widen_row(matrix, rows[static_cast<std::size_t>(n)], cpu::row<float>(x, n));
    }
  });
}

std::int64_t stored_scratch_floats(std::int64_t rows, std::int64_t columns, int threads) {
  const std::int64_t walked = floats_of_x(kWalkRows, columns) + cpu::stored_thread_floats(columns) * threads;
  return std::max(walked, rows > kWalkRows ? kWidenedRows * columns : 0);
}

void stored_product(Context& context, const Tensor& x, std::span<const StoredMatrix> matrices, const Tensor& y,
                    const Tensor& scratch) {
  const std::int64_t N = x.dim(0), K = x.dim(1);
  ATHANOR_ASSERT(x.rank() == 2 && y.rank() == 2 && x.stride(1) == 1 && y.stride(1) == 1 && y.dim(0) == N);
  std::int64_t total = 0;
  for (const StoredMatrix& matrix : matrices) {
    ATHANOR_ASSERT(matrix.columns == K && matrix.data != nullptr && (!quantized(matrix) || K % kBlock == 0));
    total += matrix.rows;
  }
  ATHANOR_ASSERT(y.dim(1) == total);
  if (N == 0 || total == 0) return;
  if (N <= kWalkRows) {
    ATHANOR_ASSERT(scratch.count() >= floats_of_x(kWalkRows, K) + cpu::stored_thread_floats(K) * context.threads());
    return walk(context, x, matrices, total, y, scratch.f32());
  }
  std::int64_t first = 0;
  for (const StoredMatrix& matrix : matrices) {
    if (matrix.kind == Stored::kFloat32) {
      const Tensor whole(DType::kFloat32, {matrix.rows, K}, const_cast<void*>(matrix.data));
      matmul(context, x, whole.transposed(), y.columns(first, first + matrix.rows));
    } else {
      ATHANOR_ASSERT(scratch.count() >= std::min(kWidenedRows, matrix.rows) * K);
      for (std::int64_t begin = 0; begin < matrix.rows; begin += kWidenedRows) {
        const std::int64_t count = std::min(kWidenedRows, matrix.rows - begin);
        const Tensor widened = Tensor::of(scratch.f32(), {count, K});
        context.parallel(count, kGrain, [&](std::int64_t from, std::int64_t to, int) {
          for (std::int64_t r = from; r < to; ++r) widen_row(matrix, begin + r, widened.f32() + r * K);
        });
        matmul(context, x, widened.transposed(), y.columns(first + begin, first + begin + count));
      }
    }
    first += matrix.rows;
  }
}

}  // namespace athanor::tensor
