// Matrices of weights in blocks of 16, 8 or 4 bits a number, GGUF's byte for byte, and the products that training on top of
// frozen weights needs of them (QLoRA: Dettmers et al. 2023).
//
// A block is 32 elements of a row; d and m are a scale and a minimum in half precision, q the stored whole numbers:
//
//   BF16   64 bytes    bfloat16[32]
//   Q8_0   34 bytes    d, int8 q[32]          q · d
//   Q4_0   18 bytes    d, 4-bit q[32]         (q − 8) · d
//   Q4_1   20 bytes    d, m, 4-bit q[32]      q · d + m
//
// Byte j of 4-bit numbers has element j below and element j + 16 above.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/tensor/context.h"
#include "engine/tensor/matmul.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

enum class BlockType : std::uint8_t { kBF16, kQ8_0, kQ4_0, kQ4_1 };

inline constexpr std::int64_t kBlockElements = 32;
std::int64_t block_bytes(BlockType type);
const char* name_of(BlockType type);  // "q8_0"

// A view of a matrix (rows, columns) of blocks; columns are a multiple of 32, rows follow each other without a gap. It owns
// nothing, as Tensor does.
class Quantized {
 public:
  Quantized() = default;
  Quantized(BlockType type, std::int64_t rows, std::int64_t columns, std::uint8_t* data);

  BlockType type() const { return type_; }
  std::int64_t dim(int i) const { return i == 0 ? rows_ : columns_; }
  std::int64_t row_bytes() const { return columns_ / kBlockElements * block_bytes(type_); }
  std::size_t bytes() const { return static_cast<std::size_t>(rows_ * row_bytes()); }
  std::uint8_t* data() const { return data_; }
  explicit operator bool() const { return data_ != nullptr; }
  Quantized rows(std::int64_t begin, std::int64_t end) const;

 private:
  BlockType type_ = BlockType::kBF16;
  std::int64_t rows_ = 0;
  std::int64_t columns_ = 0;
  std::uint8_t* data_ = nullptr;
};

// y = x · Wᵀ: x (N, in), W (out, in), y (N, out).
// Each number of W is made as the table above says in float32. Where there are rows enough to share it, and x is
// bfloat16, it is then rounded to bfloat16. Sums are float32's. x and y are float32 or bfloat16.
void matmul_transposed(Context& context, const Tensor& x, const Quantized& w, const Tensor& y,
                       Into into = Into::kReplace);

// dx = or += dy · W: dy (N, out), dx (N, in), likewise.
void matmul(Context& context, const Tensor& dy, const Quantized& w, const Tensor& dx, Into into = Into::kReplace);

// All elements of `blocks`, in order. float32.
void dequantize(BlockType type, std::span<const std::uint8_t> blocks, std::span<float> into);
// W as a matrix of its shape, float32 or bfloat16.
void dequantize(Context& context, const Quantized& w, const Tensor& into);

// The nearest that the type can say; not offered to Q4_1. Q4_0 tries several scales for each block and keeps the one with
// the least sum of squared errors. Throws kInvalid for numbers that are not finite or too large for half precision.
void quantize(Context& context, const Tensor& from, const Quantized& into);  // from: float32 (rows, columns)

}  // namespace athanor::tensor
