// Where training's tokens come from. What a sequence holds depends on its step and index alone, never on which rank or
// machine asks, so that any number of ranks, stopped and resumed anywhere, sees the same data.
#pragma once

#include <cstdint>
#include <span>

namespace athanor::data {

// A sequence to be filled, T tokens long; the three have the same size.
struct Row {
  std::span<std::int32_t> tokens;   // (T)
  std::span<std::int32_t> targets;  // (T)  what follows each token, or tensor::kNoTarget: then nothing is learnt there
  std::span<std::int32_t> document_starts;  // (T)  where the document of each token begins in the row; never falls
};

class Sequences {
 public:
  virtual ~Sequences() = default;
  // Whether a row may hold several documents, which must not see each other: attention then needs document_starts.
  virtual bool packed() const { return false; }
  // Fills `row` with sequence `index` of step `step` (from 1). A step has at least one target in all its sequences.
  virtual void training(std::int64_t step, std::int64_t index, const Row& row) = 0;
  // Held-out text: how many sequences of `length` there are, and one of them.
  virtual std::int64_t evaluation_count(std::int64_t length) = 0;
  virtual void evaluation(std::int64_t index, const Row& row) = 0;
};

}  // namespace athanor::data
