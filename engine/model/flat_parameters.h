// Named parameters in one flat buffer, and what training needs beside them: the rest of their masters, and gradients, each a
// buffer of the same layout. A whole model's are Parameters, those of adapters Adapters; optimizers, sums over ranks and
// checkpoints need only this.
//
// Values are float32 or bfloat16. Under training, values of bfloat16 are the upper halves of masters (tensor/masters.h).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "engine/model/layout.h"
#include "engine/tensor/masters.h"
#include "engine/tensor/memory_plan.h"
#include "engine/tensor/tensor.h"

namespace athanor::model {

struct ParameterTypes {
  tensor::DType values = tensor::DType::kFloat32;
  std::optional<tensor::DType> gradients;  // none: no gradients
  bool masters = false;                    // with values of bfloat16, also what completes them
  // A backward pass replaces the gradients and does not add to them (Decoder::forward_backward). Until it does, their memory
  // serves activations: before it they hold anything.
  bool gradients_anew = false;
};

class FlatParameters {
 public:
  const Layout& layout() const { return names_; }
  const tensor::Tensor& values() const { return *values_; }  // (size)
  bool with_gradients() const { return gradients_ != nullptr; }
  const tensor::Tensor& gradients() const;  // (size)
  tensor::DType type() const { return values_->type(); }
  // The values as they are trained.
  tensor::Masters masters() const { return {*values_, remainders_ ? *remainders_ : tensor::Tensor()}; }
  tensor::Tensor value(std::string_view name) const { return names_.view(*values_, names_.find(name)); }
  tensor::Tensor gradient(std::string_view name) const { return names_.view(gradients(), names_.find(name)); }

  // Elements of one parameter from `first` on, as float32: rounded to the nearest on the way in, if need be and there are no
  // masters; on the way out what the masters are, or the values.
  void set(const ParameterInfo& info, std::int64_t first, std::span<const float> from);
  void get(const ParameterInfo& info, std::int64_t first, std::span<float> into) const;

 protected:
  // Plans the buffers, `what` ("parameters") being their lines in the plan's table. Usable once the plan is allocated.
  // `gradient_parts`: when which of the gradients are needed; none: always.
  FlatParameters(const Layout& names, const std::string& what, const ParameterTypes& types, tensor::MemoryPlan& plan,
                 std::span<const tensor::LivingPart> gradient_parts = {});
  ~FlatParameters() = default;
  FlatParameters(const FlatParameters&) = default;
  FlatParameters& operator=(const FlatParameters&) = default;

 private:
  Layout names_;
  const tensor::Tensor* values_;
  const tensor::Tensor* remainders_ = nullptr;  // of masters
  const tensor::Tensor* gradients_ = nullptr;
};

}  // namespace athanor::model
