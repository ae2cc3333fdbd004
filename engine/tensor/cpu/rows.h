// What operators on rows share: checks of shapes, rows by number, kernels by type, and how many rows are worth a
// thread.
#pragma once

#include <algorithm>

#include "engine/tensor/cpu/kernels.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor::cpu {

// Rows that make a thread's work worth its waking: about 4096 elements.
inline std::int64_t grain_of(std::int64_t columns) {
  return std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, columns));
}

inline void assert_matrix(const Tensor& x, DType type, std::int64_t rows, std::int64_t columns) {
  ATHANOR_ASSERT(x.type() == type && x.rank() == 2 && x.stride(1) == 1);
  ATHANOR_ASSERT(x.dim(0) == rows && x.dim(1) == columns);
}

inline void assert_vector(const Tensor& x, DType type, std::int64_t count) {
  ATHANOR_ASSERT(x.type() == type && x.rank() == 1 && x.contiguous() && x.dim(0) == count);
}

// Row n; its type was asserted.
template <class Element>
Element* row(const Tensor& x, std::int64_t n) {
  return static_cast<Element*>(x.data()) + n * x.stride(0);
}

// Calls body(Element{}, the kernels of its rows) for float32 and bfloat16; another type is a mistake of ours.
template <class Body>
void by_type(DType type, const Body& body) {
  ATHANOR_ASSERT(type == DType::kFloat32 || type == DType::kBFloat16);
  if (type == DType::kFloat32) return body(float{}, kernels().f32);
  body(BFloat16{}, kernels().bf16);
}

}  // namespace athanor::tensor::cpu
