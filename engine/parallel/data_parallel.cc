#include "engine/parallel/data_parallel.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "common/error.h"

namespace athanor::parallel {

namespace {

constexpr std::size_t kBucketFloats = 1 << 20;  // 4 MiB: long enough for bandwidth, short enough to overlap

}  // namespace

Share share_of(std::int64_t count, int rank, int size) {
  ATHANOR_ASSERT(count >= 0 && size >= 1 && rank >= 0 && rank < size);
  return {count * rank / size, count * (rank + 1) / size};
}

void all_reduce_buckets(Collectives& collectives, const tensor::Tensor& buffer) {
  if (collectives.size() == 1) return;
  const bool narrow = buffer.type() == tensor::DType::kBFloat16;
  const auto count = static_cast<std::size_t>(buffer.count());
  std::vector<float> wide(narrow ? std::min(count, kBucketFloats) : 0);
  for (std::size_t end = count; end > 0;) {
    const std::size_t begin = end > kBucketFloats ? end - kBucketFloats : 0, size = end - begin;
    if (narrow) {
      const std::span<tensor::BFloat16> part = buffer.bfloats().subspan(begin, size);
      std::ranges::copy(part, wide.begin());
      collectives.all_reduce_sum(std::span(wide).first(size));
      std::transform(wide.begin(), wide.begin() + static_cast<std::ptrdiff_t>(size), part.begin(),
                     [](float x) { return tensor::BFloat16(x); });
    } else {
      collectives.all_reduce_sum(buffer.floats().subspan(begin, size));
    }
    end = begin;
  }
}

void broadcast(Collectives& collectives, const tensor::Tensor& buffer) {
  if (collectives.size() == 1) return;
  ATHANOR_ASSERT(buffer.contiguous());
  const std::span<std::byte> all(static_cast<std::byte*>(buffer.data()), buffer.bytes());
  constexpr std::size_t kBucketBytes = kBucketFloats * sizeof(float);
  for (std::size_t begin = 0; begin < all.size(); begin += kBucketBytes) {
    collectives.broadcast(all.subspan(begin, std::min(kBucketBytes, all.size() - begin)), 0);
  }
}

}  // namespace athanor::parallel
