// The tests that Jinja puts at a template's disposal, `value is name(…)`. Throw kInvalid, without a line, which the
// interpreter adds.
#pragma once

#include <string_view>

#include "engine/model/tokenizer/jinja/value.h"

namespace athanor::model::jinja {

bool is_test(std::string_view name);
bool apply_test(std::string_view name, const Value& input, const Arguments& arguments, Budget& budget);

}  // namespace athanor::model::jinja
