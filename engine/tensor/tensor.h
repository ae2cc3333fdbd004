// A view of numbers in memory: type, shape, strides, pointer. It owns nothing; a MemoryPlan or the caller does, for as
// long as the view is used. Copied by value. Shapes are row-major; the last dimension varies fastest.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "common/error.h"
#include "engine/tensor/bfloat16.h"

namespace athanor::tensor {

enum class DType : std::uint8_t { kFloat32, kBFloat16, kInt32, kInt16, kUInt8 };

std::size_t size_of(DType type);  // bytes an element
const char* name_of(DType type);  // "float32"

class Tensor {
 public:
  static constexpr int kMaxRank = 4;

  Tensor() = default;
  // Contiguous.
  Tensor(DType type, std::initializer_list<std::int64_t> shape, void* data = nullptr);
  Tensor(DType type, std::span<const std::int64_t> shape, void* data = nullptr);
  // Rows of `columns` elements, `stride` elements apart.
  static Tensor matrix(DType type, std::int64_t rows, std::int64_t columns, std::int64_t stride, void* data = nullptr);
  static Tensor matrix(std::int64_t rows, std::int64_t columns, std::int64_t stride, float* data = nullptr) {
    return matrix(DType::kFloat32, rows, columns, stride, data);
  }
  // A contiguous view of what the caller owns.
  static Tensor of(float* data, std::initializer_list<std::int64_t> shape) { return {DType::kFloat32, shape, data}; }
  static Tensor of(BFloat16* data, std::initializer_list<std::int64_t> shape) {
    return {DType::kBFloat16, shape, data};
  }
  static Tensor of(std::int32_t* data, std::initializer_list<std::int64_t> shape) {
    return {DType::kInt32, shape, data};
  }

  DType type() const { return type_; }
  int rank() const { return rank_; }
  std::int64_t dim(int i) const { return shape_[static_cast<std::size_t>(i)]; }
  std::int64_t stride(int i) const { return stride_[static_cast<std::size_t>(i)]; }         // in elements
  std::int64_t count() const;                                                               // of elements
  std::size_t bytes() const { return static_cast<std::size_t>(count()) * size_of(type_); }  // of the elements alone
  bool contiguous() const;
  explicit operator bool() const { return data_ != nullptr; }

  void* data() const { return data_; }
  void set_data(void* data) { data_ = data; }
  // The elements as what they are; asking for another type is a mistake of ours.
  float* f32() const {
    ATHANOR_ASSERT(type_ == DType::kFloat32);
    return static_cast<float*>(data_);
  }
  BFloat16* bf16() const {
    ATHANOR_ASSERT(type_ == DType::kBFloat16);
    return static_cast<BFloat16*>(data_);
  }
  std::int32_t* i32() const {
    ATHANOR_ASSERT(type_ == DType::kInt32);
    return static_cast<std::int32_t*>(data_);
  }
  std::int16_t* i16() const {
    ATHANOR_ASSERT(type_ == DType::kInt16);
    return static_cast<std::int16_t*>(data_);
  }
  std::uint8_t* u8() const {
    ATHANOR_ASSERT(type_ == DType::kUInt8);
    return static_cast<std::uint8_t*>(data_);
  }
  // All elements of a contiguous tensor.
  std::span<float> floats() const;
  std::span<BFloat16> bfloats() const;
  std::span<std::int32_t> ints() const;

  // Views of the same memory.
  Tensor transposed() const;                                         // (M, N) as (N, M)
  Tensor rows(std::int64_t begin, std::int64_t end) const;           // along the first dimension
  Tensor columns(std::int64_t begin, std::int64_t end) const;        // along the last dimension
  Tensor reshaped(std::initializer_list<std::int64_t> shape) const;  // contiguous, same count
  std::string describe() const;                                      // "float32 (512, 256)"

 private:
  void* data_ = nullptr;
  DType type_ = DType::kFloat32;
  int rank_ = 0;
  std::array<std::int64_t, kMaxRank> shape_{};
  std::array<std::int64_t, kMaxRank> stride_{};
};

}  // namespace athanor::tensor
