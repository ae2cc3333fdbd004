// What Jinja and Hugging Face put at a template's disposal: filters, tests and functions. All throw kInvalid, without a
// line, which the interpreter adds.
#pragma once

#include <ctime>
#include <optional>
#include <string_view>

#include "engine/model/tokenizer/jinja/value.h"

namespace athanor::model::jinja {

Value apply_filter(std::string_view name, const Value& input, const Arguments& arguments);
bool apply_test(std::string_view name, const Value& input, const Arguments& arguments);
bool is_filter(std::string_view name);
bool is_test(std::string_view name);
// range, namespace, dict, raise_exception, strftime_now, …; nothing when there is none of that name. `now`: seconds
// since 1970, which strftime_now() writes in local time.
std::optional<Value> global(std::string_view name, std::time_t now);

// The items that a loop goes over: of a list, a dict's keys, a text's characters. Throws kInvalid for other kinds.
List items_of(const Value& value);
std::int64_t length_of(const Value& value);
// `value.name` and `value[key]` where it is no method; undefined when there is none.
Value attribute_of(const Value& value, std::string_view name);
Value item_of(const Value& value, const Value& key);
bool contains(const Value& container, const Value& item);

}  // namespace athanor::model::jinja
