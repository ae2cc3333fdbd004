// Data parallelism: every rank holds the whole model and computes a share of each step's sequences; gradients are summed
// before the update, which all ranks then do alike.
//
// So that the numbers do not depend on how many ranks there are: which sequences a step has is fixed, every token's loss
// is weighted by one over the tokens of the whole step (not of the rank's share), and sums cross the ranks once.
#pragma once

#include <cstdint>

#include "engine/parallel/collectives.h"
#include "engine/tensor/tensor.h"

namespace athanor::parallel {

struct Share {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// A rank's part of [0, count): consecutive, in order of rank, none larger than another by more than one. May be empty.
Share share_of(std::int64_t count, int rank, int size);

// Sums a flat buffer over the ranks, in buckets from its end: the order in which a backward pass finishes gradients. One of
// bfloat16 crosses them as float32: it is summed exactly as far as that goes, and rounded once.
void all_reduce_buckets(Collectives& collectives, const tensor::Tensor& buffer);

// Makes every rank's flat buffer, of any type, that of rank 0.
void broadcast(Collectives& collectives, const tensor::Tensor& buffer);

}  // namespace athanor::parallel
