// What the reference model thinks of every pair: the log-probabilities of its two answers, each computed once, by the model as it
// is before the first step. For adapters that is the frozen model. So there is no second copy of a model, and no step pays for
// one. They are a part of every checkpoint, since a run that goes on has the reference no more.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "engine/parallel/collectives.h"
#include "engine/tensor/memory_plan.h"
#include "engine/tensor/tensor.h"
#include "engine/train/dpo.h"
#include "engine/train/train_tensors.h"

namespace athanor::train {

class References {
 public:
  // Plans the memory of so many pairs, one or more; `name` tells them from others'.
  References(std::int64_t pairs, std::string name, tensor::MemoryPlan& plan);

  // Gives the log-probabilities of pairs [first, first + into.size()).
  using Judge = std::function<void(std::int64_t first, std::span<AnswerLogProbabilities> into)>;
  // Of all pairs, each rank its share, at most `at_once` in a call. Returns false when `stop` was set on some rank: what is here is
  // undefined then.
  bool compute(std::int64_t at_once, parallel::Collectives& collectives, const std::atomic<bool>& stop,
               const Judge& judge);

  // Of so many pairs, how many compute() leaves to this rank.
  static std::int64_t share(std::int64_t pairs, const parallel::Collectives& collectives);

  std::int64_t pairs() const { return table_->dim(0); }
  AnswerLogProbabilities of(std::int64_t pair) const;
  void add_to(TrainTensors& tensors) const;

 private:
  const std::string name_;
  const tensor::Tensor* table_;  // (pairs, 2): chosen, rejected
};

}  // namespace athanor::train
