// The option --dtype of what writes a model: the type of its numbers.
#pragma once

#include <string>

#include "engine/model/huggingface_config.h"

namespace athanor::llm {

inline constexpr const char* kWeightTypesHelp = "Type of the numbers: float32 (exact), bfloat16, float16";

// Throws kInvalid, which names --dtype.
model::WeightType weight_type_of(const std::string& name);

}  // namespace athanor::llm
