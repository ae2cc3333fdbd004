// The types of GGUF's tensors that we read, and what their numbers are. Quantized ones come in blocks along a row; d and m
// are scales and minima in half precision, q the stored whole numbers:
//
//   Q8_0, Q4_0, Q4_1      32 elements, as engine/tensor/quantized.h says
//   Q4_K   256 elements   d, m, 6-bit s[8] and t[8], 4-bit q[256]         q · (d · s) − m · t       s, t of 32 elements
//   Q6_K   256 elements   6-bit q[256], int8 s[16], d                     (q − 32) · (d · s)        s of 16 elements
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace athanor::model {

enum class GgufType : std::uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ6_K = 14,
  kBF16 = 30
};

struct GgufBlock {
  std::size_t elements = 0;
  std::size_t bytes = 0;
};

// A block's size; nothing for a type that we do not read.
GgufBlock gguf_block(GgufType type);

// A part of a block of Q4_K, of 32 elements: d · s and m · t.
struct Q4KPart {
  float scale = 0, least = 0;
};
Q4KPart q4_k_part(const unsigned char* block, int part);
// Of a block of Q6_K: d · s of 16 elements, and q − 32 of one.
float q6_k_scale(const unsigned char* block, int group);
int q6_k_value(const unsigned char* block, int element);

// All elements of `blocks`, in order, rounded as the formulas above round in float32. The sizes must belong together.
void dequantize(GgufType type, std::string_view blocks, std::span<float> into);

}  // namespace athanor::model
