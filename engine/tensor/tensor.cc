#include "engine/tensor/tensor.h"

namespace athanor::tensor {

std::size_t size_of(DType type) {
  switch (type) {
    case DType::kUInt8: return 1;
    case DType::kBFloat16:
    case DType::kInt16: return 2;
    case DType::kFloat32:
    case DType::kInt32: return 4;
  }
  return 0;
}

const char* name_of(DType type) {
  switch (type) {
    case DType::kFloat32: return "float32";
    case DType::kBFloat16: return "bfloat16";
    case DType::kInt32: return "int32";
    case DType::kInt16: return "int16";
    case DType::kUInt8: return "uint8";
  }
  return "?";
}

Tensor::Tensor(DType type, std::initializer_list<std::int64_t> shape, void* data)
    : Tensor(type, std::span<const std::int64_t>(shape.begin(), shape.size()), data) {}

Tensor::Tensor(DType type, std::span<const std::int64_t> shape, void* data)
    : data_(data), type_(type), rank_(static_cast<int>(shape.size())) {
  ATHANOR_ASSERT(shape.size() <= kMaxRank);
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    ATHANOR_ASSERT(shape[i] >= 0);
    shape_[i] = shape[i];
    stride_[i] = stride;
    stride *= shape[i];
  }
}

Tensor Tensor::matrix(DType type, std::int64_t rows, std::int64_t columns, std::int64_t stride, void* data) {
  ATHANOR_ASSERT(stride >= columns);
  Tensor view(type, {rows, columns}, data);
  view.stride_[0] = stride;
  return view;
}

std::int64_t Tensor::count() const {
  std::int64_t count = 1;
  for (int i = 0; i < rank_; ++i) count *= dim(i);
  return count;
}

bool Tensor::contiguous() const {
  std::int64_t expected = 1;
  for (int i = rank_; i-- > 0;) {
    if (dim(i) != 1 && stride(i) != expected) return false;
    expected *= dim(i);
  }
  return true;
}

std::span<float> Tensor::floats() const {
  ATHANOR_ASSERT(contiguous());
  return {f32(), static_cast<std::size_t>(count())};
}

std::span<BFloat16> Tensor::bfloats() const {
  ATHANOR_ASSERT(contiguous());
  return {bf16(), static_cast<std::size_t>(count())};
}

std::span<std::int32_t> Tensor::ints() const {
  ATHANOR_ASSERT(contiguous());
  return {i32(), static_cast<std::size_t>(count())};
}

Tensor Tensor::transposed() const {
  ATHANOR_ASSERT(rank_ == 2);
  Tensor view = *this;
  std::swap(view.shape_[0], view.shape_[1]);
  std::swap(view.stride_[0], view.stride_[1]);
  return view;
}

Tensor Tensor::rows(std::int64_t begin, std::int64_t end) const {
  ATHANOR_ASSERT(rank_ >= 1 && 0 <= begin && begin <= end && end <= dim(0));
  Tensor view = *this;
  view.shape_[0] = end - begin;
  if (data_) view.data_ = static_cast<char*>(data_) + begin * stride(0) * static_cast<std::int64_t>(size_of(type_));
  return view;
}

Tensor Tensor::columns(std::int64_t begin, std::int64_t end) const {
  const int last = rank_ - 1;
  ATHANOR_ASSERT(rank_ >= 1 && 0 <= begin && begin <= end && end <= dim(last));
  Tensor view = *this;
  view.shape_[static_cast<std::size_t>(last)] = end - begin;
  if (data_) view.data_ = static_cast<char*>(data_) + begin * stride(last) * static_cast<std::int64_t>(size_of(type_));
  return view;
}

Tensor Tensor::reshaped(std::initializer_list<std::int64_t> shape) const {
  ATHANOR_ASSERT(contiguous());
  const Tensor view(type_, shape, data_);
  ATHANOR_ASSERT(view.count() == count());
  return view;
}

std::string Tensor::describe() const {
  std::string text = std::string(name_of(type_)) + " (";
  for (int i = 0; i < rank_; ++i) text += (i ? ", " : "") + std::to_string(dim(i));
  return text + ")";
}

}  // namespace athanor::tensor
