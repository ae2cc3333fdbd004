#include "engine/tensor/attention.h"

#include <algorithm>

#include "engine/tensor/cpu/kernels.h"

namespace athanor::tensor {

namespace {

std::int64_t round_up(std::int64_t count, std::int64_t to) { return (count + to - 1) / to * to; }

void assert_shape(const AttentionShape& s) {
  ATHANOR_ASSERT(s.batch >= 0 && s.length >= 1 && s.head_dim >= 1 && s.kv_heads >= 1 && s.heads % s.kv_heads == 0);
  ATHANOR_ASSERT(s.window >= 0);
}

void assert_starts(const Tensor& starts, const AttentionShape& s) {
  if (!starts) return;
  ATHANOR_ASSERT(starts.rank() == 2 && starts.dim(0) == s.batch && starts.dim(1) == s.length);
  const std::span<const std::int32_t> all = starts.ints();
  for (std::int64_t n = 0; n < s.batch * s.length; ++n) {
    const std::int64_t t = n % s.length, start = all[static_cast<std::size_t>(n)];
    const std::int64_t before = t > 0 ? all[static_cast<std::size_t>(n - 1)] : 0;
    ATHANOR_ASSERT(start >= before && start <= t);
  }
}

const std::int32_t* starts_of(const Tensor& starts, std::int64_t sequence) {
  return starts ? starts.i32() + sequence * starts.dim(1) : nullptr;
}

void assert_rows(const Tensor& x, std::int64_t rows, std::int64_t columns) {
  ATHANOR_ASSERT(x.type() == DType::kFloat32 && x.rank() == 2 && x.stride(1) == 1);
  ATHANOR_ASSERT(x.dim(0) == rows && x.dim(1) == columns);
}

}  // namespace

// Forward: Kᵀ, V, and tiles of q, s and o. Backward: Kᵀ, Vᵀ, K, dK, dV, and tiles of q, do, dq, p and ds.
std::int64_t attention_scratch_floats(const AttentionShape& shape, bool backward) {
  const std::int64_t D = round_up(shape.head_dim, cpu::kPad), T = round_up(shape.length, cpu::kAttentionTile);
  const std::int64_t tile = cpu::kAttentionTile;
  return backward ? 5 * T * D + 3 * tile * D + 2 * tile * tile : 2 * T * D + 2 * tile * D + tile * tile;
}

void attention_forward(Context& context, const AttentionShape& shape, const Tensor& q, const Tensor& k,
                       const Tensor& v, const Tensor& o, const Tensor& lse, const Tensor& scratch,
                       const Tensor& document_starts) {
  assert_shape(shape);
  assert_starts(document_starts, shape);
  const std::int64_t B = shape.batch, T = shape.length, H = shape.heads, G = shape.kv_heads, D = shape.head_dim;
  assert_rows(q, B * T, H * D);
  assert_rows(k, B * T, G * D);
  assert_rows(v, B * T, G * D);
  assert_rows(o, B * T, H * D);
  ATHANOR_ASSERT(lse.contiguous() && lse.count() == B * H * T);
  ATHANOR_ASSERT(scratch.dim(0) >= context.threads() && scratch.stride(0) >= attention_scratch_floats(shape, false));
  const std::int64_t group = H / G;
  const std::int64_t blocks = (T + cpu::kAttentionTile - 1) / cpu::kAttentionTile;
  // Few sequences and heads: the queries of one are divided too, and each part packs keys and values for itself.
  const std::int64_t parts = std::min(blocks, std::max<std::int64_t>(1, (2 * context.threads() - 1) / std::max<std::int64_t>(1, B * G)));
  context.parallel(B * G * parts, 1, [&](std::int64_t begin, std::int64_t end, int thread) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t part = task % parts, g = task / parts % G, b = task / parts / G;
      cpu::kernels().attention_forward({
          .length = T,
          .head_dim = D,
          .group = group,
          .window = shape.window,
          .starts = starts_of(document_starts, b),
          .q = q.f32() + b * T * q.stride(0) + g * group * D,
          .q_stride = q.stride(0),
          .k = k.f32() + b * T * k.stride(0) + g * D,
          .k_stride = k.stride(0),
          .v = v.f32() + b * T * v.stride(0) + g * D,
          .v_stride = v.stride(0),
          .o = o.f32() + b * T * o.stride(0) + g * group * D,
          .o_stride = o.stride(0),
          .lse = lse.f32() + (b * H + g * group) * T,
          .block_begin = blocks * part / parts,
          .block_end = blocks * (part + 1) / parts,
          .scratch = scratch.f32() + thread * scratch.stride(0),
      });
    }
  });
}

void attention_backward(Context& context, const AttentionShape& shape, const Tensor& q, const Tensor& k,
                        const Tensor& v, const Tensor& o, const Tensor& lse, const Tensor& d_o, const Tensor& dq,
                        const Tensor& dk, const Tensor& dv, const Tensor& scratch, const Tensor& document_starts) {
  assert_shape(shape);
  assert_starts(document_starts, shape);
  const std::int64_t B = shape.batch, T = shape.length, H = shape.heads, G = shape.kv_heads, D = shape.head_dim;
  for (const Tensor& x : {q, o, d_o, dq}) assert_rows(x, B * T, H * D);
  for (const Tensor& x : {k, v, dk, dv}) assert_rows(x, B * T, G * D);
  ATHANOR_ASSERT(lse.contiguous() && lse.count() == B * H * T);
  ATHANOR_ASSERT(scratch.dim(0) >= context.threads() && scratch.stride(0) >= attention_scratch_floats(shape, true));
  const std::int64_t group = H / G;
  context.parallel(B * G, 1, [&](std::int64_t begin, std::int64_t end, int thread) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t g = task % G, b = task / G;
      cpu::kernels().attention_backward({
          .length = T,
          .head_dim = D,
          .group = group,
          .window = shape.window,
          .starts = starts_of(document_starts, b),
          .q = q.f32() + b * T * q.stride(0) + g * group * D,
          .q_stride = q.stride(0),
          .k = k.f32() + b * T * k.stride(0) + g * D,
          .k_stride = k.stride(0),
          .v = v.f32() + b * T * v.stride(0) + g * D,
          .v_stride = v.stride(0),
          .o = o.f32() + b * T * o.stride(0) + g * group * D,
          .o_stride = o.stride(0),
          .lse = lse.f32() + (b * H + g * group) * T,
          .d_o = d_o.f32() + b * T * d_o.stride(0) + g * group * D,
          .d_o_stride = d_o.stride(0),
          .dq = dq.f32() + b * T * dq.stride(0) + g * group * D,
          .dq_stride = dq.stride(0),
          .dk = dk.f32() + b * T * dk.stride(0) + g * D,
          .dk_stride = dk.stride(0),
          .dv = dv.f32() + b * T * dv.stride(0) + g * D,
          .dv_stride = dv.stride(0),
          .scratch = scratch.f32() + thread * scratch.stride(0),
      });
    }
  });
}

void attention_cached(Context& context, const AttentionShape& shape, std::int64_t first, const Tensor& q,
                      const Tensor& keys, const Tensor& values, const Tensor& o, const Tensor& scratch) {
  assert_shape(shape);
  const std::int64_t N = q.dim(0), H = shape.heads, G = shape.kv_heads, D = shape.head_dim;
  assert_rows(q, N, H * D);
  assert_rows(o, N, H * D);
  ATHANOR_ASSERT(keys.dim(1) == G * D && values.dim(1) == G * D);
  ATHANOR_ASSERT(first >= 0 && first + N <= keys.dim(0) && first + N <= values.dim(0));
  ATHANOR_ASSERT(scratch.dim(0) >= context.threads() && scratch.dim(1) >= first + N);
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / ((first + N) * D));
  context.parallel(N * H, grain, [&](std::int64_t begin, std::int64_t end, int thread) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t h = task % H, n = task / H, g = h / (H / G);
      const std::int64_t end = first + n + 1;
      const std::int64_t start = shape.window > 0 ? std::max<std::int64_t>(0, end - shape.window) : 0;
      cpu::kernels().attention_cached(end - start, D, q.f32() + n * q.stride(0) + h * D,
                                      keys.f32() + start * keys.stride(0) + g * D, keys.stride(0),
                                      values.f32() + start * values.stride(0) + g * D, values.stride(0),
                                      o.f32() + n * o.stride(0) + h * D, scratch.f32() + thread * scratch.stride(0));
    }
  });
}

}  // namespace athanor::tensor
