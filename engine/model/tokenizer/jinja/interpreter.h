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

// `variables`: what the template sees. Throws kInvalid for a template that fails or raises an exception, kExhausted for
// one that runs too long or writes too much; both name the line.
Rendered render(const Body& body, const Dict& variables, std::time_t now);

}  // namespace athanor::model::jinja
