#include "engine/model/layout.h"

#include <utility>

#include "common/error.h"

namespace athanor::model {

namespace {

constexpr std::int64_t kAlignment = 16;  // elements: a vector of floats, and more than one of bfloat16

}  // namespace

const ParameterInfo& Layout::add(const std::string& name, std::vector<std::int64_t> shape) {
  ParameterInfo& info = all_.emplace_back();
  info.name = name;
  info.count = 1;
  for (const std::int64_t size : shape) info.count *= size;
  info.decays = shape.size() > 1;
  info.shape = std::move(shape);
  info.offset = size_;
  size_ += info.count;
  return info;
}

void Layout::align() { size_ = (size_ + kAlignment - 1) / kAlignment * kAlignment; }

const ParameterInfo& Layout::find(std::string_view name) const {
  for (const ParameterInfo& info : all_) {
    if (info.name == name) return info;
  }
  throw Error(ErrorKind::kNotFound, "The model has no parameter named {}", name);
}

tensor::Tensor Layout::view(const tensor::Tensor& flat, const ParameterInfo& info) const {
  ATHANOR_ASSERT(flat.rank() == 1 && flat.dim(0) == size_);
  return part_of(flat, info.offset, info.shape);
}

tensor::Tensor part_of(const tensor::Tensor& flat, std::int64_t offset, std::span<const std::int64_t> shape) {
  return {flat.type(), shape,
          static_cast<char*>(flat.data()) + offset * static_cast<std::int64_t>(size_of(flat.type()))};
}

std::uint64_t hash_of(std::string_view name) {
  std::uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return hash;
}

}  // namespace athanor::model
