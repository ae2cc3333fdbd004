#include "engine/data/permutation.h"

#include <algorithm>
#include <bit>

#include "common/error.h"
#include "common/random.h"

namespace athanor::data {

std::uint64_t mixed(std::uint64_t a, std::uint64_t b) {
  SeededRandom random(a);
  random.set_state(random.next() ^ b);
  return random.next();
}

std::uint64_t permuted(std::uint64_t index, std::uint64_t count, std::uint64_t key) {
  ATHANOR_ASSERT(index < count && count <= std::uint64_t{1} << 62);
  // Two halves of `half` bits each; at least one bit, so that there is something to mix.
  const int half = std::max(1, (static_cast<int>(std::bit_width(count - 1)) + 1) / 2);
  const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
  do {  // fewer than four values lie beyond `count` for each below it, so this ends soon
    std::uint64_t left = index >> half, right = index & mask;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint64_t next = left ^ (mixed(key + round, right) & mask);
      left = right;
      right = next;
    }
    index = left << half | right;
  } while (index >= count);
  return index;
}

}  // namespace athanor::data
