// Where training's tokens come from. What a sequence holds depends on its step and index alone, never on which rank or
// machine asks, so that any number of ranks, stopped and resumed anywhere, sees the same data.
#pragma once

#include <cstdint>
#include <span>

namespace athanor::data {

class Sequences {
 public:
  virtual ~Sequences() = default;
  // Fills `tokens` (length + 1) with sequence `index` of step `step` (from 1): a text of length + 1 tokens, where each
  // is the target of the one before it.
  virtual void training(std::int64_t step, std::int64_t index, std::span<std::int32_t> tokens) = 0;
  // Held-out text: how many sequences of `length` there are, and one of them.
  virtual std::int64_t evaluation_count(std::int64_t length) = 0;
  virtual void evaluation(std::int64_t index, std::span<std::int32_t> tokens) = 0;
};

}  // namespace athanor::data
