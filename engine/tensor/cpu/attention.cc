#include "engine/tensor/attention.h"

#include <algorithm>
#include <type_traits>

#include "engine/tensor/cpu/rows.h"
#include "engine/tensor/operator_times.h"

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

// `products` of each pair of a query and a key that it sees, in each head.
Work attention_work(const AttentionShape& s, const Tensor& starts, double products, Work work) {
  double pairs = 0;
  for (std::int64_t n = 0; n < s.batch * s.length; ++n) {
    const std::int64_t t = n % s.length;
    pairs += static_cast<double>(t + 1 - cpu::first_key(starts_of(starts, n / s.length), s.window, t));
  }
  work.flops = products * 2 * static_cast<double>(s.head_dim * s.heads) * pairs;
  return work;
}

// Few sequences and heads for the threads: the queries of one are divided too, at most one part for a thread.
std::int64_t parts_of(const AttentionShape& s, int threads) {
  const std::int64_t blocks = round_up(s.length, cpu::kAttentionTile) / cpu::kAttentionTile;
  return std::clamp<std::int64_t>(threads / std::max<std::int64_t>(1, s.batch * s.kv_heads), 1, blocks);
}

// The first block of queries of a part, such that parts see about as many tiles of keys; of part `parts`: the end.
std::int64_t first_block(const AttentionShape& s, const std::int32_t* starts, std::int64_t part, std::int64_t parts) {
  const std::int64_t tile = cpu::kAttentionTile, blocks = round_up(s.length, tile) / tile;
  const auto seen = [&](std::int64_t block) {
    return block + 1 - cpu::first_key(starts, s.window, block * tile) / tile;
  };
  std::int64_t all = 0, before = 0, block = 0;
  for (std::int64_t i = 0; i < blocks; ++i) all += seen(i);
  while (before * parts < all * part) before += seen(block++);
  return block;
}

// Where sequence `b` begins in rows of B·T, at column `column`.
template <class Element>
Element* start_of(const Tensor& x, std::int64_t b, std::int64_t length, std::int64_t column) {
  return cpu::row<Element>(x, b * length) + column;
}

}  // namespace

// Forward: Kᵀ, V, and tiles of q, s and o. Backward: Kᵀ, Vᵀ, K, dK, dV, and tiles of q, do, dq, p and ds.
std::int64_t attention_scratch_floats(const AttentionShape& shape, bool backward) {
  const std::int64_t D = round_up(shape.head_dim, cpu::kPad), T = round_up(shape.length, cpu::kAttentionTile);
  const std::int64_t tile = cpu::kAttentionTile;
  return backward ? 5 * T * D + 3 * tile * D + 2 * tile * tile : 2 * T * D + 2 * tile * D + tile * tile;
}

void attention_forward(Context& context, const AttentionShape& shape, const Tensor& q, const Tensor& k, const Tensor& v,
                       const Tensor& o, const Tensor& lse, const Tensor& scratch, const Tensor& document_starts) {
  const OperatorTimer timer(context, "attention",
                            [&] { return attention_work(shape, document_starts, 2, bytes_of(q, k, v, o, lse)); });
  assert_shape(shape);
  assert_starts(document_starts, shape);
  const std::int64_t B = shape.batch, T = shape.length, H = shape.heads, G = shape.kv_heads, D = shape.head_dim;
  for (const Tensor& x : {q, o}) cpu::assert_matrix(x, q.type(), B * T, H * D);
  for (const Tensor& x : {k, v}) cpu::assert_matrix(x, q.type(), B * T, G * D);
  ATHANOR_ASSERT(lse.contiguous() && lse.count() == B * H * T);
  ATHANOR_ASSERT(scratch.dim(0) >= context.threads() && scratch.stride(0) >= attention_scratch_floats(shape, false));
  const std::int64_t group = H / G, parts = parts_of(shape, context.threads());
  cpu::by_type(q.type(), [&]<class Element>(Element, const auto& kernels) {
    context.parallel(B * G * parts, 1, [&](std::int64_t begin, std::int64_t end, int thread) {
      for (std::int64_t task = begin; task < end; ++task) {
        const std::int64_t part = task % parts, g = task / parts % G, b = task / parts / G;
        const std::int32_t* starts = starts_of(document_starts, b);
        const std::int64_t first = first_block(shape, starts, part, parts);
        const std::int64_t last = first_block(shape, starts, part + 1, parts);
        if (first == last) continue;
        kernels.attention_forward({
            .length = T,
            .head_dim = D,
            .group = group,
            .window = shape.window,
            .starts = starts,
            .q = start_of<Element>(q, b, T, g * group * D),
            .q_stride = q.stride(0),
            .k = start_of<Element>(k, b, T, g * D),
            .k_stride = k.stride(0),
            .v = start_of<Element>(v, b, T, g * D),
            .v_stride = v.stride(0),
            .o = start_of<Element>(o, b, T, g * group * D),
            .o_stride = o.stride(0),
            .lse = lse.f32() + (b * H + g * group) * T,
            .block_begin = first,
            .block_end = last,
            .scratch = scratch.f32() + thread * scratch.stride(0),
        });
      }
    });
  });
}

void attention_backward(Context& context, const AttentionShape& shape, const Tensor& q, const Tensor& k,
                        const Tensor& v, const Tensor& o, const Tensor& lse, const Tensor& d_o, const Tensor& dq,
                        const Tensor& dk, const Tensor& dv, const Tensor& scratch, const Tensor& document_starts) {
  const OperatorTimer timer(context, "attention backward", [&] {
    return attention_work(shape, document_starts, 5, bytes_of(q, k, v, o, lse, d_o, dq, dk, dv));
  });
  assert_shape(shape);
  assert_starts(document_starts, shape);
  const std::int64_t B = shape.batch, T = shape.length, H = shape.heads, G = shape.kv_heads, D = shape.head_dim;
  for (const Tensor& x : {q, o, d_o, dq}) cpu::assert_matrix(x, q.type(), B * T, H * D);
  for (const Tensor& x : {k, v, dk, dv}) cpu::assert_matrix(x, q.type(), B * T, G * D);
  ATHANOR_ASSERT(lse.contiguous() && lse.count() == B * H * T);
  ATHANOR_ASSERT(scratch.dim(0) >= context.threads() && scratch.stride(0) >= attention_scratch_floats(shape, true));
  const std::int64_t group = H / G, parts = parts_of(shape, context.threads());
  // Of parts there are no more than threads: each has scratch of its own, where its sums wait for the others'.
  const auto scratch_of = [&](std::int64_t place) { return scratch.f32() + place * scratch.stride(0); };
  cpu::by_type(q.type(), [&]<class Element>(Element, const auto& kernels) {
    context.parallel(B * G * parts, 1, [&](std::int64_t begin, std::int64_t end, int thread) {
      for (std::int64_t task = begin; task < end; ++task) {
        const std::int64_t part = task % parts, g = task / parts % G, b = task / parts / G;
        const std::int32_t* starts = starts_of(document_starts, b);
        kernels.attention_backward({
            .length = T,
            .head_dim = D,
            .group = group,
            .window = shape.window,
            .starts = starts,
            .q = start_of<Element>(q, b, T, g * group * D),
            .q_stride = q.stride(0),
            .k = start_of<Element>(k, b, T, g * D),
            .k_stride = k.stride(0),
            .v = start_of<Element>(v, b, T, g * D),
            .v_stride = v.stride(0),
            .o = start_of<Element>(o, b, T, g * group * D),
            .o_stride = o.stride(0),
            .lse = lse.f32() + (b * H + g * group) * T,
            .d_o = start_of<Element>(d_o, b, T, g * group * D),
            .d_o_stride = d_o.stride(0),
            .dq = start_of<Element>(dq, b, T, g * group * D),
            .dq_stride = dq.stride(0),
            .dk = parts > 1 ? nullptr : start_of<Element>(dk, b, T, g * D),
            .dk_stride = dk.stride(0),
            .dv = start_of<Element>(dv, b, T, g * D),
            .dv_stride = dv.stride(0),
            .block_begin = first_block(shape, starts, part, parts),
            .block_end = first_block(shape, starts, part + 1, parts),
            .scratch = scratch_of(parts > 1 ? task : thread),
        });
      }
    });
    if (parts == 1) return;
    const std::int64_t Dp = round_up(D, cpu::kPad), Tp = round_up(T, cpu::kAttentionTile);
    context.parallel(B * G * T, 16, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t row = begin; row < end; ++row) {
        const std::int64_t t = row % T, g = row / T % G, b = row / T / G;
        for (const bool of_v : {false, true}) {
          const std::int64_t at = (of_v ? Tp : 0) * Dp + t * Dp;
          float* sum = scratch_of((b * G + g) * parts) + at;
          for (std::int64_t part = 1; part < parts; ++part) {
            cpu::kernels().f32.combine(D, 1, scratch_of((b * G + g) * parts + part) + at, 1, sum);
          }
          Element* into = start_of<Element>(of_v ? dv : dk, b, T, g * D) + t * (of_v ? dv : dk).stride(0);
          if constexpr (std::is_same_v<Element, float>) {
            std::copy_n(sum, D, into);
          } else {
            cpu::kernels().narrow(D, sum, into);
          }
        }
      }
    });
  });
}

void attention_cached(Context& context, const AttentionShape& shape, std::int64_t first, const Tensor& q,
                      const Tensor& keys, const Tensor& values, const Tensor& o, const Tensor& scratch) {
  assert_shape(shape);
  const std::int64_t N = q.dim(0), H = shape.heads, G = shape.kv_heads, D = shape.head_dim;
  for (const Tensor& x : {q, o}) cpu::assert_matrix(x, q.type(), N, H * D);
  ATHANOR_ASSERT(keys.type() == q.type() && values.type() == q.type());
  ATHANOR_ASSERT(keys.dim(1) == G * D && values.dim(1) == G * D);
  ATHANOR_ASSERT(first >= 0 && first + N <= keys.dim(0) && first + N <= values.dim(0));
  ATHANOR_ASSERT(scratch.dim(0) >= context.threads() && scratch.dim(1) >= first + N);
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / ((first + N) * D));
  cpu::by_type(q.type(), [&]<class Element>(Element, const auto& kernels) {
    context.parallel(N * H, grain, [&](std::int64_t begin, std::int64_t end, int thread) {
      for (std::int64_t task = begin; task < end; ++task) {
        const std::int64_t h = task % H, n = task / H, g = h / (H / G);
        const std::int64_t seen = first + n + 1;
        const std::int64_t start = shape.window > 0 ? std::max<std::int64_t>(0, seen - shape.window) : 0;
        kernels.attention_cached(seen - start, D, cpu::row<Element>(q, n) + h * D,
                                 cpu::row<Element>(keys, start) + g * D, keys.stride(0),
                                 cpu::row<Element>(values, start) + g * D, values.stride(0),
                                 cpu::row<Element>(o, n) + h * D, scratch.f32() + thread * scratch.stride(0));
      }
    });
  });
}

}  // namespace athanor::tensor
