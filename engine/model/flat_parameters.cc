#include "engine/model/flat_parameters.h"

#include <algorithm>

namespace athanor::model {

FlatParameters::FlatParameters(const Layout& names, const std::string& what, const ParameterTypes& types,
                               tensor::MemoryPlan& plan, std::span<const tensor::LivingPart> gradient_parts)
    : names_(names), values_(&plan.add(what, what, types.values, {names_.size()})) {
  ATHANOR_ASSERT(types.values == tensor::DType::kFloat32 || types.values == tensor::DType::kBFloat16);
  if (types.masters && types.values == tensor::DType::kBFloat16) {
    remainders_ = &plan.add(what, "remainders of masters", tensor::DType::kInt16, {names_.size()});
  }
  if (!types.gradients) return;
  const tensor::LivingPart whole{names_.size(), tensor::Lifetime::always()};
  gradients_ = &plan.add_parts("gradients", "gradients", *types.gradients,
                               gradient_parts.empty() ? std::span(&whole, 1) : gradient_parts);
  ATHANOR_ASSERT(gradients_->count() == names_.size());
}

const tensor::Tensor& FlatParameters::gradients() const {
  ATHANOR_ASSERT(gradients_);
  return *gradients_;
}

void FlatParameters::set(const ParameterInfo& info, std::int64_t first, std::span<const float> from) {
  const auto count = static_cast<std::int64_t>(from.size());
  ATHANOR_ASSERT(first >= 0 && first + count <= info.count);
  const std::int64_t begin = info.offset + first;
  if (type() == tensor::DType::kFloat32) {
    std::ranges::copy(from, values_->f32() + begin);
  } else if (remainders_) {
    const tensor::Tensor floats = tensor::Tensor::of(const_cast<float*>(from.data()), {count});  // only read
    split_masters(floats, {values_->rows(begin, begin + count), remainders_->rows(begin, begin + count)});
  } else {
    std::ranges::transform(from, values_->bf16() + begin, [](float x) { return tensor::BFloat16(x); });
  }
}

void FlatParameters::get(const ParameterInfo& info, std::int64_t first, std::span<float> into) const {
  const auto count = static_cast<std::int64_t>(into.size());
  ATHANOR_ASSERT(first >= 0 && first + count <= info.count);
  const std::int64_t begin = info.offset + first;
  if (type() == tensor::DType::kFloat32) {
    std::copy_n(values_->f32() + begin, count, into.begin());
  } else if (remainders_) {
    join_masters({values_->rows(begin, begin + count), remainders_->rows(begin, begin + count)},
                 tensor::Tensor::of(into.data(), {count}));
  } else {
    std::copy_n(values_->bf16() + begin, count, into.begin());
  }
}

}  // namespace athanor::model
