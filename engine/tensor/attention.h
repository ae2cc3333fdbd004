// Causal attention with grouped queries, tile by tile: the (T, T) scores are never whole (FlashAttention, Dao 2022).
//
// For each sequence, and each query head h with key/value head h / (H / G):
//   s[i][j] = q[i] · k[j] / sqrt(D)      for start(i) ≤ j ≤ i
//   p       = softmax over j of s
//   o[i]    = sum over j of p[i][j] · v[j]
//
// Forward keeps lse[i] = log sum exp s[i][j]; backward recomputes p = exp(s − lse) and, with delta[i] = do[i] · o[i]:
//   dv[j] = sum over i of p[i][j] · do[i]
//   ds    = p · (do[i] · v[j] − delta[i])
//   dq[i] = sum over j of ds[i][j] · k[j] / sqrt(D)
//   dk[j] = sum over i of ds[i][j] · q[i] / sqrt(D)
//
// The heads of one key/value head are computed together, so that keys and values are packed once. Where there are fewer of them
// than threads, the queries of each are divided too; backward then adds the parts' dk and dv in their order.
//
// One mask serves sliding windows and sequences packed of several documents: start(i) is the larger of the first
// position of i's document and i − window + 1. It never falls as i grows, so tiles that nothing sees are passed over.
#pragma once

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

struct AttentionShape {
  std::int64_t batch = 0;     // B
  std::int64_t length = 0;    // T
  std::int64_t heads = 0;     // H, a multiple of G
  std::int64_t kv_heads = 0;  // G
  std::int64_t head_dim = 0;  // D
  std::int64_t window = 0;    // each query sees so many keys, its own included; 0: all before it
};

// Floats of scratch that each thread needs.
std::int64_t attention_scratch_floats(const AttentionShape& shape, bool backward);

// q, o (B·T, H·D); k, v (B·T, G·D), all float32 or all bfloat16; rows may be parts of wider ones. Scores, sums and lse
// (B, H, T) are float32's whatever the type.
// scratch (threads, attention_scratch_floats). document_starts (B, T) int32, or none when each sequence is one document:
// document_starts[b][t] ≤ t is where t's document begins in its sequence, and does not fall as t grows.
void attention_forward(Context& context, const AttentionShape& shape, const Tensor& q, const Tensor& k, const Tensor& v,
                       const Tensor& o, const Tensor& lse, const Tensor& scratch, const Tensor& document_starts = {});

// Replaces dq, dk and dv, shaped like q, k and v.
void attention_backward(Context& context, const AttentionShape& shape, const Tensor& q, const Tensor& k,
                        const Tensor& v, const Tensor& o, const Tensor& lse, const Tensor& d_o, const Tensor& dq,
                        const Tensor& dk, const Tensor& dv, const Tensor& scratch, const Tensor& document_starts = {});

// One or more new queries of one sequence against a cache: q (N, H·D) stand at positions first … first+N−1;
// keys and values of all positions up to there are in `keys` and `values` (T, G·D). o (N, H·D).
// scratch (threads, T).
void attention_cached(Context& context, const AttentionShape& shape, std::int64_t first, const Tensor& q,
                      const Tensor& keys, const Tensor& values, const Tensor& o, const Tensor& scratch);

}  // namespace athanor::tensor
