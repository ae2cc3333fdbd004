// Runs a template.
#pragma once

#include <ctime>
#include <utility>
#include <vector>

#include "engine/model/tokenizer/jinja/syntax.h"
#include "engine/model/tokenizer/jinja/value.h"

namespace athanor::model::jinja {

struct Rendered {
  Text text;
  std::vector<std::pair<std::size_t, std::size_t>> generated;  // what stood in {% generation %}, as bytes
};

// `variables`: what the template sees. Throws kInvalid, naming the line, for a template that fails, raises an exception or
// passes one of the limits of budget.h. May be called from several threads.
Rendered render(const Body& body, const Dict& variables, std::time_t now);

}  // namespace athanor::model::jinja
