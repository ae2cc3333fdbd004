#include "engine/tensor/quantized.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/error.h"
#include "engine/tensor/cpu/kernels.h"
#include "engine/tensor/cpu/products.h"
#include "engine/tensor/embedding.h"
#include "engine/tensor/half.h"
#include "engine/tensor/operator_times.h"

namespace athanor::tensor {

namespace {

// Parts of a product's columns are multiples of this: of a block, and of half an own register tile's columns or more.
constexpr std::int64_t kGrain = 64;

const cpu::BlockKernels& kernels_of(BlockType type) { return cpu::kernels().blocks[static_cast<std::size_t>(type)]; }

// Columns of the result that a panel of weights with `depth` numbers for each makes at once.
std::int64_t panel_columns(std::int64_t depth, DType type) {
  const auto bytes = depth * static_cast<std::int64_t>(size_of(type));
  return std::max<std::int64_t>(kGrain, Context::Products::kPanelBytes / bytes / kGrain * kGrain);
}

void dequantize_blocks(BlockType type, std::int64_t blocks, const std::uint8_t* from, const Tensor& into_row) {
  if (into_row.type() == DType::kBFloat16) return kernels_of(type).into_bf16(blocks, from, into_row.bf16());
  kernels_of(type).into_f32(blocks, from, into_row.f32());
}

// Columns [begin, end) of some rows, both multiples of a block.
void dequantize_part(const Quantized& w, std::int64_t begin, std::int64_t end, const Tensor& into) {
  const std::int64_t first = begin / kBlockElements * block_bytes(w.type());
  for (std::int64_t r = 0; r < w.dim(0); ++r) {
    dequantize_blocks(w.type(), (end - begin) / kBlockElements, w.data() + r * w.row_bytes() + first,
                      into.rows(r, r + 1));
  }
}

void check_product(const Tensor& left, std::int64_t depth, const Tensor& result, std::int64_t columns) {
  ATHANOR_ASSERT(left.rank() == 2 && result.rank() == 2 && left.stride(1) == 1 && result.stride(1) == 1);
  ATHANOR_ASSERT(left.dim(0) == result.dim(0) && left.dim(1) == depth && result.dim(1) == columns);
  ATHANOR_ASSERT(left.type() == DType::kFloat32 || left.type() == DType::kBFloat16);
  ATHANOR_ASSERT(result.type() == DType::kFloat32 || result.type() == DType::kBFloat16);
}

// x (N, one side of W) and y (N, its other).
Work product_work(const Tensor& x, const Quantized& w, const Tensor& y, Into into) {
  Work work = bytes_of(x, w, y, into == Into::kAdd ? y : Tensor());
  work.flops = 2.0 * static_cast<double>(x.dim(0)) * static_cast<double>(w.dim(0)) * static_cast<double>(w.dim(1));
  return work;
}

}  // namespace

std::int64_t block_bytes(BlockType type) {
  switch (type) {
    case BlockType::kBF16: return 64;
    case BlockType::kQ8_0: return 34;
    case BlockType::kQ4_0: return 18;
    case BlockType::kQ4_1: return 20;
  }
  return 0;
}

const char* name_of(BlockType type) {
  switch (type) {
    case BlockType::kBF16: return "bfloat16";
    case BlockType::kQ8_0: return "q8_0";
    case BlockType::kQ4_0: return "q4_0";
    case BlockType::kQ4_1: return "q4_1";
  }
  return "?";
}

Quantized::Quantized(BlockType type, std::int64_t rows, std::int64_t columns, std::uint8_t* data)
    : type_(type), rows_(rows), columns_(columns), data_(data) {
  ATHANOR_ASSERT(rows >= 0 && columns >= 0 && columns % kBlockElements == 0);
}

Quantized Quantized::rows(std::int64_t begin, std::int64_t end) const {
  ATHANOR_ASSERT(0 <= begin && begin <= end && end <= rows_);
  return {type_, end - begin, columns_, data_ + begin * row_bytes()};
}

void matmul_transposed(Context& context, const Tensor& x, const Quantized& w, const Tensor& y, Into into) {
  const OperatorTimer timer(context, "matrix products", [&] { return product_work(x, w, y, into); });
  const std::int64_t N = x.dim(0), in = w.dim(1), out = w.dim(0);
  check_product(x, in, y, out);
  if (N == 0 || out == 0) return;
  if (N <= cpu::kFewRows) {
    context.parallel(out, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
      const Tensor part = y.columns(begin, end);
      kernels_of(w.type()).few_rows({.m = N,
                                     .n = end - begin,
                                     .k = in,
                                     .x = x.data(),
                                     .x_row = x.stride(0),
                                     .x_bf16 = x.type() == DType::kBFloat16,
                                     .w = w.data() + begin * w.row_bytes(),
                                     .y = part.data(),
                                     .y_row = y.stride(0),
                                     .y_bf16 = y.type() == DType::kBFloat16,
                                     .add_to = into == Into::kAdd});
    });
    return;
  }
  const std::int64_t width = panel_columns(in, x.type());
  context.parallel(out, kGrain, [&](std::int64_t begin, std::int64_t end, int thread) {
    void* memory = context.products().panel(thread, std::min(width, end - begin) * in *
                                                        static_cast<std::int64_t>(size_of(x.type())));
    for (std::int64_t j = begin; j < end; j += width) {
      const std::int64_t last = std::min(j + width, end);
      const Tensor panel(x.type(), {last - j, in}, memory);
      dequantize_part(w.rows(j, last), 0, in, panel);
      context.products().run(thread, x, panel.transposed(), y.columns(j, last), into);
    }
  });
}

void matmul(Context& context, const Tensor& dy, const Quantized& w, const Tensor& dx, Into into) {
  const OperatorTimer timer(context, "matrix products", [&] { return product_work(dy, w, dx, into); });
  const std::int64_t N = dy.dim(0), in = w.dim(1), out = w.dim(0);
  check_product(dy, out, dx, in);
  if (N == 0 || in == 0) return;
  const std::int64_t width = panel_columns(out, dy.type());
  context.parallel(in, kGrain, [&](std::int64_t begin, std::int64_t end, int thread) {
    void* memory = context.products().panel(thread, std::min(width, end - begin) * out *
                                                        static_cast<std::int64_t>(size_of(dy.type())));
    for (std::int64_t j = begin; j < end; j += width) {
      const std::int64_t last = std::min(j + width, end);
      const Tensor panel(dy.type(), {out, last - j}, memory);
      dequantize_part(w, j, last, panel);
      context.products().run(thread, dy, panel, dx.columns(j, last), into);
    }
  });
}

void dequantize(BlockType type, std::span<const std::uint8_t> blocks, std::span<float> into) {
  const auto count = static_cast<std::int64_t>(into.size()) / kBlockElements;
  ATHANOR_ASSERT(static_cast<std::int64_t>(into.size()) == count * kBlockElements);
  ATHANOR_ASSERT(static_cast<std::int64_t>(blocks.size()) == count * block_bytes(type));
  kernels_of(type).into_f32(count, blocks.data(), into.data());
}

void dequantize(Context& context, const Quantized& w, const Tensor& into) {
  ATHANOR_ASSERT(into.rank() == 2 && into.stride(1) == 1 && into.dim(0) == w.dim(0) && into.dim(1) == w.dim(1));
  context.parallel(w.dim(0), 1 + 16384 / std::max<std::int64_t>(1, w.dim(1)),
                   [&](std::int64_t begin, std::int64_t end, int) {
                     dequantize_part(w.rows(begin, end), 0, w.dim(1), into.rows(begin, end));
                   });
}

void embedding_forward(Context& context, const Tensor& tokens, const Weight& table, const Tensor& x) {
  const OperatorTimer timer(context, "embedding", [&] { return bytes_of(tokens, x, x); });
  if (!table.quantized()) return embedding_forward(context, tokens, table.dense(), x);
  const Quantized& rows = table.blocks();
  const std::int32_t* ids = tokens.ints().data();
  ATHANOR_ASSERT(x.dim(0) == tokens.count() && x.dim(1) == rows.dim(1) && x.stride(1) == 1);
  context.parallel(x.dim(0), 8, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t n = begin; n < end; ++n) {
      ATHANOR_ASSERT(ids[n] >= 0 && ids[n] < rows.dim(0));
      dequantize_part(rows.rows(ids[n], ids[n] + 1), 0, rows.dim(1), x.rows(n, n + 1));
    }
  });
}

void quantize(Context& context, const Tensor& from, const Quantized& into) {
  ATHANOR_ASSERT(from.rank() == 2 && from.stride(1) == 1 && from.dim(0) == into.dim(0) && from.dim(1) == into.dim(1));
  const auto kernel = kernels_of(into.type()).quantize;
  ATHANOR_ASSERT(kernel != nullptr);
  const std::int64_t columns = from.dim(1);
  // What d must hold: 1/127 of a Q8_0's largest number, 1/8 of a Q4_0's, give or take what trying adds.
  const float limit = into.type() == BlockType::kBF16   ? std::numeric_limits<float>::max()
                      : into.type() == BlockType::kQ8_0 ? 127 * kHalfMax
                                                        : 6 * kHalfMax;
  context.parallel(
      from.dim(0), 1 + 4096 / std::max<std::int64_t>(1, columns), [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t r = begin; r < end; ++r) {
          const float* row = from.f32() + r * from.stride(0);
          for (std::int64_t c = 0; c < columns; ++c) {
            if (std::abs(row[c]) <= limit) continue;
            throw Error(ErrorKind::kInvalid,
                        "A weight is {}, which {} cannot hold: the model is damaged, or it must stay in float32 "
                        "or bfloat16",
                        row[c], name_of(into.type()));
          }
          kernel(columns / kBlockElements, row, into.data() + r * into.row_bytes());
        }
      });
}

}  // namespace athanor::tensor
