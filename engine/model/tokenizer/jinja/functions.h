// The functions that Jinja and Hugging Face put at a template's disposal. Throw kInvalid, without a line, which the
// interpreter adds.
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

// range, namespace, dict, raise_exception, strftime_now, …; nothing when there is none of that name. `context` must outlive
// what is found.
std::optional<Value> global(std::string_view name, Context& context);

}  // namespace athanor::model::jinja
