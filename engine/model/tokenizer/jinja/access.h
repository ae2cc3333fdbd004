// What is in a value: its items, attributes and length, as Python has them. Throw kInvalid, without a line, which the
// interpreter adds.
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/model/tokenizer/jinja/value.h"

namespace athanor::model::jinja {

// The items that a loop goes over: of a list, a dict's keys, a text's characters. Throws kInvalid for other kinds.
List items_of(const Value& value, Budget& budget);
std::int64_t length_of(const Value& value);
// `value.name` and `value[key]` where it is no method; undefined when there is none.
Value attribute_of(const Value& value, std::string_view name, Budget& budget);
Value item_of(const Value& value, const Value& key, Budget& budget);
bool contains(const Value& container, const Value& item, Budget& budget);

}  // namespace athanor::model::jinja
