// Matrices of weights that stay as small in memory as they are in their files, and products with them. Generation reads
// every weight once for each token, so that its speed is that of the memory: half the bytes are twice the tokens.
//
//   y (N, R) = x (N, K) · Wᵀ          W (R, K)
//
// A row of W is, by kind:
//   kFloat32, kBFloat16, kFloat16   K numbers
//   kNibbles   4-bit q in [0, 15]:  q · s + m        K/2 bytes, then the s, then the m; byte j of a block of 32 elements
//                                                    has element j below and element j + 16 above
//   kBytes     8-bit q:             q · s            K bytes, then the s
// with s and m of `group` elements each, in half precision or, when `wide`, float32.
//
// Weights and x are used exactly; sums are float32.
#pragma once

#include <cstdint>
#include <span>

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

enum class Stored : std::uint8_t { kFloat32, kBFloat16, kFloat16, kNibbles, kBytes };

struct StoredMatrix {
  Stored kind = Stored::kFloat32;
  bool wide = false;       // kNibbles, kBytes
  std::int64_t group = 0;  // kNibbles: 32; kBytes: 16 or 32
  std::int64_t rows = 0;
  std::int64_t columns = 0;  // kNibbles and kBytes: a multiple of 32
  const void* data = nullptr;

  std::int64_t row_bytes() const;
  std::int64_t bytes() const { return rows * row_bytes(); }
  const std::uint8_t* row(std::int64_t r) const { return static_cast<const std::uint8_t*>(data) + r * row_bytes(); }
  // A contiguous matrix of float32 or bfloat16.
  static StoredMatrix of(const Tensor& matrix);
};

// Rows of the matrix (an embedding), as float32: row n of x (N, K) is row rows[n]. They lie in [0, R).
void stored_rows(Context& context, const StoredMatrix& matrix, std::span<const std::int32_t> rows, const Tensor& x);

// Floats of scratch for products of up to `rows` rows of x with matrices of up to `columns` columns, on so many threads.
std::int64_t stored_scratch_floats(std::int64_t rows, std::int64_t columns, int threads);

// y = x · Wᵀ for matrices of as many columns that stand beside each other: y's columns are the rows of the first, then
// those of the next. x (N, K) and y (N, sum of R) float32; scratch (stored_scratch_floats).
void stored_product(Context& context, const Tensor& x, std::span<const StoredMatrix> matrices, const Tensor& y,
                    const Tensor& scratch);

}  // namespace athanor::tensor
