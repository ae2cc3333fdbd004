#include "engine/train/batch.h"

#include "common/error.h"
#include "engine/tensor/cross_entropy.h"

namespace athanor::train {

using tensor::DType;
using tensor::Tensor;

Batch::Batch(std::int64_t vocabulary, std::int64_t rows, std::int64_t length, tensor::MemoryPlan& plan)
    : vocabulary_(vocabulary),
      tokens_(&plan.add("tokens", "tokens", DType::kInt32, {rows, length})),
      targets_(&plan.add("tokens", "targets", DType::kInt32, {rows, length})),
      starts_(&plan.add("tokens", "document starts", DType::kInt32, {rows, length})) {}

void Batch::begin(std::int64_t rows, std::int64_t length) {
  ATHANOR_ASSERT(rows >= 1 && rows <= tokens_->dim(0) && length >= 1 && length <= tokens_->dim(1));
  rows_ = rows;
  length_ = length;
}

data::Row Batch::row(std::int64_t index) const {
  const auto part = [&](const Tensor& of) { return of.rows(index, index + 1).ints(); };
  return {part(tokens()), part(targets()), part(starts())};
}

std::int64_t Batch::check(std::int64_t index) const {
  const data::Row filled = row(index);
  const auto check_id = [&](std::int32_t id) {
    if (id >= 0 && id < vocabulary_) return;
    throw Error(ErrorKind::kInvalid,
                "The training data has token {}, and the model knows {}: the tokens were made with another tokenizer",
                id, vocabulary_);
  };
  std::int64_t targets = 0;
  for (std::size_t i = 0; i < filled.tokens.size(); ++i) {
    check_id(filled.tokens[i]);
    if (filled.targets[i] == tensor::kNoTarget) continue;
    check_id(filled.targets[i]);
    ++targets;
  }
  return targets;
}

}  // namespace athanor::train
