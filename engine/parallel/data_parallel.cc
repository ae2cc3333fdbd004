#include "engine/parallel/data_parallel.h"

#include <algorithm>
#include <span>

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
  const std::span<float> all = buffer.floats();
  for (std::size_t end = all.size(); end > 0;) {
    const std::size_t begin = end > kBucketFloats ? end - kBucketFloats : 0;
    collectives.all_reduce_sum(all.subspan(begin, end - begin));
    end = begin;
  }
}

void broadcast(Collectives& collectives, const tensor::Tensor& buffer) {
  if (collectives.size() == 1) return;
  const std::span<float> all = buffer.floats();
  for (std::size_t begin = 0; begin < all.size(); begin += kBucketFloats) {
    collectives.broadcast(std::as_writable_bytes(all.subspan(begin, std::min(kBucketFloats, all.size() - begin))), 0);
  }
}

}  // namespace athanor::parallel
