// Masters and gradients of any type as floats, a chunk at a time that stays in the L1 cache: what optimizers loop over.
#pragma once

#include <algorithm>

#include "engine/tensor/context.h"
#include "engine/tensor/cpu/kernels.h"
#include "engine/tensor/masters.h"

namespace athanor::tensor::cpu {

inline constexpr std::int64_t kChunk = 256;
// Elements that are worth a thread, a multiple of kChunk: which chunks there are does not depend on the threads.
inline constexpr std::int64_t kChunksGrain = 4096;

inline void assert_masters(const Masters& masters, std::int64_t count) {
  ATHANOR_ASSERT(masters.values.count() == count && masters.values.contiguous());
  if (masters.values.type() == DType::kFloat32) return;
  ATHANOR_ASSERT(masters.values.type() == DType::kBFloat16 && masters.remainders.type() == DType::kInt16);
  ATHANOR_ASSERT(masters.remainders.count() == count && masters.remainders.contiguous());
}

// `count` elements from `first` as floats: the tensor's own, or widened into `copy`.
inline const float* as_floats(const Tensor& x, std::int64_t first, std::int64_t count, float* copy) {
  if (x.type() == DType::kFloat32) return x.f32() + first;
  kernels().widen(count, x.bf16() + first, copy);
  return copy;
}

// Calls body(first, count, parameters) on all chunks; what it leaves in the floats is put back.
template <class Body>
void in_chunks(Context& context, const Masters& masters, const Body& body) {
  const std::int64_t count = masters.values.count();
  assert_masters(masters, count);
  context.parallel(count, kChunksGrain, [&](std::int64_t begin, std::int64_t end, int) {
    float copy[kChunk];
    for (std::int64_t i = begin; i < end; i += kChunk) {
      const std::int64_t size = std::min(kChunk, end - i);
      if (masters.values.type() == DType::kFloat32) {
        body(i, size, masters.values.f32() + i);
      } else {
        kernels().join(size, masters.values.bf16() + i, masters.remainders.i16() + i, copy);
        body(i, size, copy);
        kernels().split(size, copy, masters.values.bf16() + i, masters.remainders.i16() + i);
      }
    }
  });
}

}  // namespace athanor::tensor::cpu
