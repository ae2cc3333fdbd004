#include "engine/cli/weight_type.h"

#include "common/error.h"

namespace athanor::llm {

model::WeightType weight_type_of(const std::string& name) {
  if (name == "float32") return model::WeightType::kFloat32;
  if (name == "bfloat16") return model::WeightType::kBFloat16;
  if (name == "float16") return model::WeightType::kFloat16;
  throw Error(ErrorKind::kInvalid, "--dtype is {}; it must be float32, bfloat16 or float16", name);
}

}  // namespace athanor::llm
