// The inner loops of the CPU's operators, one table for each instruction set. Plain functions on one thread: operators
// check shapes and divide the work, these only compute. Where nothing else is said, a call is for one row of `columns`.
#pragma once

#include <cstdint>

namespace athanor::tensor::cpu {

// Heads of one key/value head in one sequence; pointers stand at its first row, and at the group's first head.
struct AttentionTask {
  std::int64_t length, head_dim, group;
  std::int64_t window;         // 0: none
  const std::int32_t* starts;  // (T), or null
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
  const char* name;
  void (*add)(std::int64_t count, const float* x, float* into);
  void (*rmsnorm_forward)(std::int64_t columns, const float* x, const float* gain, float eps, float* y, float* r);
  void (*add_rmsnorm_forward)(std::int64_t columns, const float* x, const float* delta, const float* gain, float eps,
                              float* sum, float* y, float* r);
  void (*rmsnorm_backward)(std::int64_t columns, const float* x, const float* gain, float r, const float* dy, float* dx,
                           float* d_gain);
  // `heads` heads; y may be x.
  void (*head_norm_forward)(std::int64_t heads, std::int64_t head_dim, const float* x, const float* gain, float eps,
                            float* y);
  // dx enters as dy; d_gain is added to.
  void (*head_norm_backward)(std::int64_t heads, std::int64_t head_dim, const float* x, const float* gain, float eps,
                             float* dx, float* d_gain);
  // `heads` heads; direction 1 turns forward, −1 back.
  void (*rope)(std::int64_t heads, std::int64_t head_dim, const float* cos, const float* sin, float direction, float* x);
  void (*swiglu_forward)(std::int64_t columns, const float* gate_up, float* y);
  void (*swiglu_backward)(std::int64_t columns, float* gate_up, const float* dy);
  // The loss of the row; with `scale` not null, the row becomes its gradient.
  double (*cross_entropy)(std::int64_t columns, float* logits, std::int64_t target, const float* scale);
  void (*adamw)(std::int64_t count, const AdamWStep& how, const float* gradients, float* parameters, float* m, float* v);
  double (*squared_norm)(std::int64_t count, const float* x);
  void (*attention_forward)(const AttentionTask& task);
  void (*attention_backward)(const AttentionTask& task);
  // One query of one head against `count` positions; scores (count) is scratch.
  void (*attention_cached)(std::int64_t count, std::int64_t head_dim, const float* q, const float* keys,
                           std::int64_t k_stride, const float* values, std::int64_t v_stride, float* o, float* scores);
};

extern const Kernels kKernelsAvx2;
extern const Kernels kKernelsAvx512;

// The best that this CPU runs. Throws kInvalid when it runs none.
const Kernels& kernels();

}  // namespace athanor::tensor::cpu
