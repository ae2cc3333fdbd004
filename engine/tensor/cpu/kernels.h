// The inner loops of the CPU's operators, one table for each instruction set. Plain functions on one thread: operators
// check shapes and divide the work, these only compute. Where nothing else is said, a call is for one row of `columns`.
#pragma once

#include <cstdint>

#include "engine/tensor/bfloat16.h"

namespace athanor::tensor::cpu {

// Heads of one key/value head in one sequence; pointers stand at its first row, and at the group's first head.
template <class Element>
struct AttentionTask {
  std::int64_t length, head_dim, group;
  std::int64_t window;         // 0: none
  const std::int32_t* starts;  // (T), or null
  const Element* q;            // (T, group·D), rows `q_stride` apart
  std::int64_t q_stride;
  const Element* k;  // (T, D)
  std::int64_t k_stride;
  const Element* v;  // (T, D)
  std::int64_t v_stride;
  Element* o;  // (T, group·D)
  std::int64_t o_stride;
  float* lse;  // (group, T)
  const Element* d_o;
  std::int64_t d_o_stride;
  Element* dq;
  std::int64_t dq_stride;
  // dK and dV; or dk is null, and they stay where backward makes their sums: at the beginning of `scratch` (2, T, D), padded.
  Element* dk;
  std::int64_t dk_stride;
  Element* dv;
  std::int64_t dv_stride;
  std::int64_t block_begin, block_end;  // blocks of kAttentionTile queries
  float* scratch;
};

inline constexpr std::int64_t kAttentionTile = 64;  // queries and keys in a tile
inline constexpr std::int64_t kPad = 32;            // tiles' rows are multiples of this

// The first key that query `t` of a sequence sees, which never falls as t rises: the first of its document (`starts` as
// above), or of its window. Always inlined, for the reason that bfloat16.h gives.
[[gnu::always_inline]] inline std::int64_t first_key(const std::int32_t* starts, std::int64_t window, std::int64_t t) {
  const std::int64_t document = starts != nullptr ? starts[t] : 0;
  const std::int64_t in_window = window > 0 ? t - window + 1 : 0;
  return document > in_window ? document : in_window;
}

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

// y (m, n) = or += x (m, k) · Wᵀ for m ≤ kFewRows; W (n, k) in blocks, k a multiple of 32.
struct BlockTask {
  std::int64_t m, n, k;
  const void* x;
  std::int64_t x_row;
  bool x_bf16;
  const std::uint8_t* w;
  void* y;
  std::int64_t y_row;
  bool y_bf16;
  bool add_to;
};

// Of one form of block (engine/tensor/quantized.h).
struct BlockKernels {
  void (*into_f32)(std::int64_t blocks, const std::uint8_t* from, float* into);
  void (*into_bf16)(std::int64_t blocks, const std::uint8_t* from, BFloat16* into);
  void (*few_rows)(const BlockTask& task);
  void (*quantize)(std::int64_t blocks, const float* from, std::uint8_t* into);  // null: not offered
};
// Rows of x with `count` rows of a matrix as it is stored (engine/tensor/stored_matrix.h).
inline constexpr std::int64_t kStoredBlock = 32;  // elements, of kNibbles and kBytes
struct StoredTask {
  int kind = 0;  // Stored
  bool wide = false;
  std::int64_t group = 0;
  std::int64_t columns = 0;
  const std::uint8_t* rows = nullptr;  // of W
  std::int64_t row_bytes = 0, count = 0;
  std::int64_t x_rows = 0;
  const float* x = nullptr;
  std::int64_t x_stride = 0;
  const float* sums = nullptr;  // kNibbles: of the blocks of each row of x (x_rows, columns / kStoredBlock)
  float* y = nullptr;           // row i at i · y_stride
  std::int64_t y_stride = 0;
  float* scratch = nullptr;  // stored_thread_floats(columns)
};
constexpr std::int64_t stored_thread_floats(std::int64_t columns) { return 2 * (columns / 16); }

struct AdamWStep {
  float keep;          // 1 − rate · decay
  float beta1, rest1;  // rest: 1 − beta, rounded once
  float beta2, rest2;
  float step_size;        // rate / (1 − beta1^t)
  float root_correction;  // 1 / sqrt(1 − beta2^t)
  float eps;
  float gradient_scale;
};

// The codes of 8-bit moments (engine/tensor/adamw8.h): kDecades decades, evenly cut into codes, between zero and one.
inline constexpr int kDecades = 7;
struct Decades {
  // From which magnitude on a code of the decade is the nearest; the last one is for the code of 1.
  float limit[kDecades + 1];
  float low[kDecades + 1];       // where the decade's first code begins
  float per_code[kDecades + 1];  // codes per unit
  float first[kDecades + 1];     // the decade's first and last code
  float last[kDecades + 1];
  float last_negative;  // the largest code that has a negative
  float zero;           // what is stored for the code 0
};

// Rows of one type of element. Where nothing else is said, a call is for one row of `columns`; sums are float's.
template <class Element>
struct RowKernels {
  void (*rmsnorm_forward)(std::int64_t columns, const Element* x, const Element* gain, float eps, Element* y, float* r);
  void (*add_rmsnorm_forward)(std::int64_t columns, const Element* x, const Element* delta, const Element* gain,
                              float eps, Element* sum, Element* y, float* r);
  void (*rmsnorm_backward)(std::int64_t columns, const Element* x, const Element* gain, float r, const Element* dy,
                           Element* dx, float* d_gain);
  // `heads` heads, each by itself; y may be x.
  void (*head_norm_forward)(std::int64_t heads, std::int64_t head_dim, const Element* x, const Element* gain, float eps,
                            Element* y);
  // dx enters as dy; d_gain is added to.
  void (*head_norm_backward)(std::int64_t heads, std::int64_t head_dim, const Element* x, const Element* gain,
                             float eps, Element* dx, float* d_gain);
  // `heads` heads; direction 1 turns forward, −1 back.
  void (*rope)(std::int64_t heads, std::int64_t head_dim, const float* cos, const float* sin, float direction,
               Element* x);
  void (*swiglu_forward)(std::int64_t columns, const Element* gate_up, Element* y);
  void (*swiglu_backward)(std::int64_t columns, Element* gate_up, const Element* dy);
  // The loss of the row; with `scale` not null, `gradient` becomes its gradient, which may lie where the row does.
  double (*cross_entropy)(std::int64_t columns, const Element* logits, std::int64_t target, float z_loss,
                          const float* scale, Element* gradient);
  double (*squared_norm)(std::int64_t count, const Element* x);
  void (*combine)(std::int64_t count, float a, const Element* x, float b, Element* y);  // y = a · x + b · y
  // y = or += x ∘ mask · scale (engine/tensor/dropout.h)
  void (*dropout)(std::int64_t columns, std::uint32_t key, std::uint32_t key2, std::uint32_t limit, float scale,
                  const Element* x, Element* y);
  void (*add_dropout)(std::int64_t columns, std::uint32_t key, std::uint32_t key2, std::uint32_t limit, float scale,
                      const Element* x, Element* y);
  void (*add_floats)(std::int64_t count, const float* x, Element* into);
  void (*add_to_floats)(std::int64_t count, const Element* x, float* into);
  void (*attention_forward)(const AttentionTask<Element>& task);
  void (*attention_backward)(const AttentionTask<Element>& task);
  // One query of one head against `count` positions; scores (count) is scratch.
  void (*attention_cached)(std::int64_t count, std::int64_t head_dim, const Element* q, const Element* keys,
                           std::int64_t k_stride, const Element* values, std::int64_t v_stride, Element* o,
                           float* scores);
  // Products of such matrices, into floats and into bfloat16.
  void (*product)(const ProductTask& task);
  void (*product_into_bf16)(const ProductTask& task);
};

struct Kernels {
  const char* name;  // "avx2"
  bool onednn_f32;   // oneDNN makes float32's products faster than we do
  bool onednn_bf16;  // and bfloat16's
  RowKernels<float> f32;
  RowKernels<BFloat16> bf16;
  double (*cross_entropy_into_bf16)(std::int64_t columns, const float* logits, std::int64_t target, float z_loss,
                                    const float* scale, BFloat16* gradient);
  void (*adamw)(std::int64_t count, const AdamWStep& how, const float* gradients, float* parameters, float* m,
                float* v);
  void (*widen)(std::int64_t count, const BFloat16* from, float* into);
  void (*narrow)(std::int64_t count, const float* from, BFloat16* into);
  // Float32 as bfloat16 and remainder, and back (engine/tensor/adamw.h).
  void (*split)(std::int64_t count, const float* from, BFloat16* high, std::int16_t* low);
  void (*join)(std::int64_t count, const BFloat16* high, const std::int16_t* low, float* into);
  float (*largest_magnitude)(std::int64_t count, const float* x);
  void (*encode8)(std::int64_t count, const float* from, float inverse_scale, const Decades& decades,
                  std::uint8_t* codes);
  void (*decode8)(std::int64_t count, const std::uint8_t* codes, const float* table, float scale, float* into);
  void (*sum_blocks)(std::int64_t columns, const float* x, float* sums);  // of kStoredBlock elements each
  void (*stored_rows)(const StoredTask& task);
  // A row of a stored matrix as floats.
  void (*widen_stored)(int kind, bool wide, std::int64_t group, std::int64_t columns, const std::uint8_t* row,
                       float* into);
  BlockKernels blocks[4];  // by BlockType
};

extern const Kernels kKernelsPortable;
extern const Kernels kKernelsAvx2;
extern const Kernels kKernelsAvx512;
extern const Kernels kKernelsAvx512Bf16;

// The best that this CPU runs, or the one that the variable ATHANOR_CPU names: portable, avx2, avx512, avx512_bf16.
// Throws kInvalid when this CPU cannot run that one. The same for the life of the process.
const Kernels& kernels();

}  // namespace athanor::tensor::cpu
