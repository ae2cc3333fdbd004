// The rows that a decoder computes at once: tokens, targets and the starts of documents, in planned memory, checked before
// they reach it.
#pragma once

#include <cstdint>

#include "engine/data/sequences.h"
#include "engine/tensor/memory_plan.h"
#include "engine/tensor/tensor.h"

namespace athanor::train {

class Batch {
 public:
  // Plans room for `rows` of `length` tokens of a vocabulary. One thread.
  Batch(std::int64_t vocabulary, std::int64_t rows, std::int64_t length, tensor::MemoryPlan& plan);

  // Begins a batch; what its rows hold is undefined until they are filled.
  void begin(std::int64_t rows, std::int64_t length);
  data::Row row(std::int64_t index) const;
  // Checks a row that has been filled, and counts its targets. Throws kInvalid for a token that the model does not know.
  std::int64_t check(std::int64_t index) const;

  // (rows, length) of the batch that has begun.
  tensor::Tensor tokens() const { return view(*tokens_); }
  tensor::Tensor targets() const { return view(*targets_); }
  tensor::Tensor starts() const { return view(*starts_); }

 private:
  tensor::Tensor view(const tensor::Tensor& of) const { return tensor::Tensor::of(of.i32(), {rows_, length_}); }

  const std::int64_t vocabulary_;
  const tensor::Tensor* tokens_;  // (rows, length) at most
  const tensor::Tensor* targets_;
  const tensor::Tensor* starts_;
  std::int64_t rows_ = 0;
  std::int64_t length_ = 0;
};

}  // namespace athanor::train
