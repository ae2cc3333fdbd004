// Sequences drawn from token files, in an order that is known for every step without having gone there: the position of
// a run is its step, and nothing else needs to be saved.
//
// An epoch cuts the text into windows of `length` tokens, starting at an offset of its own, and takes each window once,
// in an order of its own (a keyed permutation). Sequence `index` of step s is number (s-1)·batch + index of that endless
// series. Which rank asks, and how many there are, changes nothing.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/data/sequences.h"
#include "engine/data/token_file.h"

namespace athanor::data {

struct TokenSequencesOptions {
  std::int64_t length = 256;  // tokens that a sequence predicts
  std::int64_t batch = 16;    // sequences of a step
  std::uint64_t seed = 1;     // of the order
};

class TokenSequences final : public Sequences {
 public:
  // `held_out` may be null: then there is no evaluation. Throws kInvalid when `train` is too short for one sequence.
  TokenSequences(std::shared_ptr<const TokenFile> train, std::shared_ptr<const TokenFile> held_out,
                 const TokenSequencesOptions& options);

  void training(std::int64_t step, std::int64_t index, const Row& row) override;
  std::int64_t evaluation_count(std::int64_t length) override;
  void evaluation(std::int64_t index, const Row& row) override;

  // Sequences of an epoch.
  std::int64_t windows() const { return windows_; }

 private:
  const std::shared_ptr<const TokenFile> train_;
  const std::shared_ptr<const TokenFile> held_out_;
  const TokenSequencesOptions options_;
  std::int64_t windows_ = 0;
};

}  // namespace athanor::data
