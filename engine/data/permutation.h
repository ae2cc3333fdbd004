// Orders that are known without being stored: a keyed permutation, of which any place is computed directly.
#pragma once

#include <cstdint>

namespace athanor::data {

// One number from two, well mixed: a key for a part of what has a key.
std::uint64_t mixed(std::uint64_t a, std::uint64_t b);

// Where `index` in [0, count) goes in the permutation of [0, count) that `key` chooses: four rounds of a Feistel network
// over the next power of four, walked until the result is below `count` (Black and Rogaway, 2002). O(1), no table.
std::uint64_t permuted(std::uint64_t index, std::uint64_t count, std::uint64_t key);

}  // namespace athanor::data
