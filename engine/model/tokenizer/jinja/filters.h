// The filters that Jinja and Hugging Face put at a template's disposal, `value|name(…)`. Throw kInvalid, without a line,
// which the interpreter adds.
#pragma once

#include <string_view>

#include "engine/model/tokenizer/jinja/value.h"

namespace athanor::model::jinja {

bool is_filter(std::string_view name);
Value apply_filter(std::string_view name, const Value& input, const Arguments& arguments, Budget& budget);

}  // namespace athanor::model::jinja
