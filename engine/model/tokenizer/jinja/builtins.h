// What Jinja and Hugging Face put at a template's disposal: filters, tests and functions. All throw kInvalid, without a
// line, which the interpreter adds.
#pragma once

#include <ctime>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/model/tokenizer/jinja/value.h"

namespace athanor::model::jinja {

// Of one run of a template, which owns it; the functions of global() use it.
struct Context {
  explicit Context(std::time_t now) : now(now) {}
  ~Context();
  Context(const Context&) = delete;

  const std::time_t now;  // for strftime_now(), as ChatOptions has it
  Budget budget;
  std::vector<std::shared_ptr<Namespace>> spaces;  // all that the run makes, however they hold each other

  std::shared_ptr<Namespace> make_space();
};

Value apply_filter(std::string_view name, const Value& input, const Arguments& arguments, Budget& budget);
bool apply_test(std::string_view name, const Value& input, const Arguments& arguments, Budget& budget);
bool is_filter(std::string_view name);
bool is_test(std::string_view name);
// range, namespace, dict, raise_exception, strftime_now, …; nothing when there is none of that name. `context` must outlive
// what is found.
std::optional<Value> global(std::string_view name, Context& context);

// The items that a loop goes over: of a list, a dict's keys, a text's characters. Throws kInvalid for other kinds.
List items_of(const Value& value, Budget& budget);
std::int64_t length_of(const Value& value);
// `value.name` and `value[key]` where it is no method; undefined when there is none.
Value attribute_of(const Value& value, std::string_view name, Budget& budget);
Value item_of(const Value& value, const Value& key, Budget& budget);
bool contains(const Value& container, const Value& item, Budget& budget);

}  // namespace athanor::model::jinja
