// The inner loops of the CPU's operators, one table for each instruction set. Plain functions on one thread: operators
// check shapes and divide the work, these only compute. Where nothing else is said, a call is for one row of `columns`.
#pragma once

#include <cstdint>

#include "engine/tensor/bfloat16.h"

namespace athanor::tensor::cpu {

// Heads of one key/value head in one sequence; pointers stand at its first row, and at the group's first head.
struct AttentionTask {
  std::int64_t length, head_dim, group;
  const float* q;  // (T, group·D), rows `q_stride` apart
  std::int64_t q_stride;
  const float* k;  // (T, D)
  std::int64_t k_stride;
  const float* v;  // (T, D)
  std::int64_t v_stride;
  float* o;  // (T, group·D)
  std::int64_t o_stride;
  float* lse;  // (group, T)
  const float* d_o;
  std::int64_t d_o_stride;
  float* dq;
  std::int64_t dq_stride;
  float* dk;
  std::int64_t dk_stride;
  float* dv;
  std::int64_t dv_stride;
  std::int64_t block_begin, block_end;  // blocks of kAttentionTile queries, forward only
  float* scratch;
};

inline constexpr std::int64_t kAttentionTile = 64;  // queries and keys in a tile
inline constexpr std::int64_t kPad = 32;            // tiles' rows are multiples of this

// C (m, n) = or += A (m, k) · B (k, n); A and B of one type, unit stride in one dimension of each.
struct ProductTask {
  std::int64_t m, n, k;
  const void* a;
  std::int64_t a_row, a_column;
  const void* b;
  std::int64_t b_row, b_column;
  void* c;
  std::int64_t c_row;
  bool add_to;
  float* scratch;  // kProductScratch floats, aligned to 64 bytes
};

// Up to so many rows of A are no product but a walk over B (few_rows.inc).
inline constexpr std::int64_t kFewRows = 4;
// Blocks of a product: of the sum, of C's columns, of A's rows; and rows of C whose sums are kept when C is bfloat16.
inline constexpr std::int64_t kProductDepth = 384;
inline constexpr std::int64_t kProductColumns = 1024;
inline constexpr std::int64_t kProductBlockRows = 120;
inline constexpr std::int64_t kProductRows = 480;
inline constexpr std::int64_t kProductScratch =
    kProductDepth * (kProductColumns + kProductBlockRows) + 2 * kPad + (kProductRows + kPad) * kProductColumns;

struct AdamWStep {
  float keep;             // 1 − rate · decay
  float beta1, rest1;     // rest: 1 − beta, rounded once
  float beta2, rest2;
  float step_size;        // rate / (1 − beta1^t)
  float root_correction;  // 1 / sqrt(1 − beta2^t)
  float eps;
  float gradient_scale;
};

struct Kernels {
  const char* name;  // "avx2"
  bool onednn_f32;   // oneDNN makes float32's products faster than we do
  bool onednn_bf16;  // and bfloat16's
  void (*add)(std::int64_t count, const float* x, float* into);
  void (*rmsnorm_forward)(std::int64_t columns, const float* x, const float* gain, float eps, float* y, float* r);
  void (*add_rmsnorm_forward)(std::int64_t columns, const float* x, const float* delta, const float* gain, float eps,
                              float* sum, float* y, float* r);
  void (*rmsnorm_backward)(std::int64_t columns, const float* x, const float* gain, float r, const float* dy, float* dx,
                           float* d_gain);
  // `heads` heads; direction 1 turns forward, −1 back.
  void (*rope)(std::int64_t heads, std::int64_t head_dim, const float* cos, const float* sin, float direction, float* x);
  void (*swiglu_forward)(std::int64_t columns, const float* gate_up, float* y);
  void (*swiglu_backward)(std::int64_t columns, float* gate_up, const float* dy);
  // The loss of the row; with `scale` not null, the row becomes its gradient.
  double (*cross_entropy)(std::int64_t columns, float* logits, std::int64_t target, const float* scale);
  void (*adamw)(std::int64_t count, const AdamWStep& how, const float* gradients, float* parameters, float* m, float* v);
  double (*squared_norm)(std::int64_t count, const float* x);
  void (*product_f32_f32)(const ProductTask& task);  // types of A and B, and of C
  void (*product_f32_bf16)(const ProductTask& task);
  void (*product_bf16_f32)(const ProductTask& task);
  void (*product_bf16_bf16)(const ProductTask& task);
  void (*attention_forward)(const AttentionTask& task);
  void (*attention_backward)(const AttentionTask& task);
  // One query of one head against `count` positions; scores (count) is scratch.
  void (*attention_cached)(std::int64_t count, std::int64_t head_dim, const float* q, const float* keys,
                           std::int64_t k_stride, const float* values, std::int64_t v_stride, float* o, float* scores);
};

extern const Kernels kKernelsPortable;
extern const Kernels kKernelsAvx2;
extern const Kernels kKernelsAvx512;
extern const Kernels kKernelsAvx512Bf16;

// The best that this CPU runs, or the one that the variable ATHANOR_CPU names: portable, avx2, avx512, avx512_bf16.
// Throws kInvalid when this CPU cannot run that one. The same for the life of the process.
const Kernels& kernels();

}  // namespace athanor::tensor::cpu
