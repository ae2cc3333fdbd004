#include "engine/train/references.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "common/error.h"
#include "engine/parallel/data_parallel.h"

namespace athanor::train {

References::References(std::int64_t pairs, std::string name, tensor::MemoryPlan& plan)
    : name_("references." + std::move(name)),
      table_(&plan.add("references", name_, tensor::DType::kFloat32, {pairs, 2})) {
  ATHANOR_ASSERT(pairs >= 1);
}

bool References::compute(std::int64_t at_once, parallel::Collectives& collectives, const std::atomic<bool>& stop,
                         const Judge& judge) {
  ATHANOR_ASSERT(at_once >= 1);
  std::memset(table_->data(), 0, table_->bytes());  // so that the sum of all shares is each of them
  std::vector<AnswerLogProbabilities> found;
  const auto [begin, end] = parallel::share_of(pairs(), collectives.rank(), collectives.size());
  for (std::int64_t first = begin; first < end && !stop; first += at_once) {
    found.resize(static_cast<std::size_t>(std::min(at_once, end - first)));
    judge(first, found);
    float* row = table_->f32() + 2 * first;
    for (const AnswerLogProbabilities& pair : found) {
      *row++ = static_cast<float>(pair.chosen);
      *row++ = static_cast<float>(pair.rejected);
    }
  }
  float stopped = stop ? 1 : 0;
  collectives.all_reduce_sum(std::span(&stopped, 1));
  if (stopped > 0) return false;
  parallel::all_reduce_buckets(collectives, table_->reshaped({2 * pairs()}));
  return true;
}

std::int64_t References::share(std::int64_t pairs, const parallel::Collectives& collectives) {
  const auto [begin, end] = parallel::share_of(pairs, collectives.rank(), collectives.size());
  return end - begin;
}

AnswerLogProbabilities References::of(std::int64_t pair) const {
  ATHANOR_ASSERT(pair >= 0 && pair < pairs());
  const float* row = table_->f32() + 2 * pair;
  return {row[0], row[1]};
}

void References::add_to(TrainTensors& tensors) const {
  tensors.buffers.push_back(*table_);
  if (*table_) tensors.named.push_back({name_, *table_});
}

}  // namespace athanor::train
