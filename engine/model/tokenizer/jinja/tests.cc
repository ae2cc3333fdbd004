#include "engine/model/tokenizer/jinja/tests.h"

#include "common/error.h"
#include "engine/model/tokenizer/jinja/access.h"
#include "engine/model/tokenizer/jinja/filters.h"
#include "engine/model/tokenizer/jinja/strings.h"

namespace athanor::model::jinja {

namespace {

constexpr Signature kTests[] = {
    {"boolean", {}},   {"callable", {}},
    {"defined", {}},   {"divisibleby", {"num"}},
    {"eq", {"other"}}, {"equalto", {"other"}},
    {"even", {}},      {"false", {}},
    {"filter", {}},    {"float", {}},
    {"ge", {"other"}}, {"greaterthan", {"other"}},
    {"gt", {"other"}}, {"in", {"seq"}},
    {"integer", {}},   {"iterable", {}},
    {"le", {"other"}}, {"lessthan", {"other"}},
    {"lower", {}},     {"lt", {"other"}},
    {"mapping", {}},   {"ne", {"other"}},
    {"none", {}},      {"number", {}},
    {"odd", {}},       {"sameas", {"other"}},
    {"sequence", {}},  {"string", {}},
    {"test", {}},      {"true", {}},
    {"undefined", {}}, {"upper", {}},
    {"==", {"other"}}, {"!=", {"other"}},
    {"<", {"other"}},  {"<=", {"other"}},
    {">", {"other"}},  {">=", {"other"}},
};

}  // namespace

bool is_test(std::string_view name) { return find_signature(kTests, name) != nullptr; }

bool apply_test(std::string_view name, const Value& input, const Arguments& arguments, Budget& budget) {
  const Signature* signature = find_signature(kTests, name);
  if (!signature) throw Error(ErrorKind::kInvalid, "there is no test '{}'", name);
  check_arguments("test", *signature, arguments);
  budget.spend(1, Budget::kItem);
  const Value other = arguments.get(0, signature->parameters[0]);
  const auto integer = [&] {
    if (!input.number() || input.real()) refuse(fmt::format("the test '{}'", name), input);
    return input.as_integer();
  };
  if (name == "defined") return !input.undefined();
  if (name == "undefined") return input.undefined() != nullptr;
  if (name == "none") return input.none();
  if (name == "string") return input.text() != nullptr;
  if (name == "number") return input.number();
  if (name == "integer") return input.integer() != nullptr;
  if (name == "float") return input.real() != nullptr;
  if (name == "boolean") return input.boolean() != nullptr;
  if (name == "true") return input.boolean() && *input.boolean();
  if (name == "false") return input.boolean() && !*input.boolean();
  if (name == "mapping") return input.dict() != nullptr;
  if (name == "iterable") return input.list() || input.dict() || input.text() || input.undefined();
  if (name == "sequence") return input.list() || input.dict() || input.text() || input.undefined();
  if (name == "callable") return input.function() != nullptr;
  if (name == "filter") return input.text() && is_filter(input.text()->bytes);
  if (name == "test") return input.text() && is_test(input.text()->bytes);
  if (name == "lower" || name == "upper") {
    return *text_method(to_text(input, budget), name == "lower" ? "islower" : "isupper", {}, budget)->boolean();
  }
  if (name == "odd") return integer() % 2 != 0;
  if (name == "even") return integer() % 2 == 0;
  if (!arguments.has(0, signature->parameters[0]))
    throw Error(ErrorKind::kInvalid, "the test '{}' needs an argument", name);
  if (name == "divisibleby") {
    if (!other.number() || other.as_integer() == 0) refuse("dividing", other);
    return other.as_integer() == -1 || integer() % other.as_integer() == 0;  // the processor divides no least by -1
  }
  if (name == "eq" || name == "equalto" || name == "==") return equal(input, other, budget);
  if (name == "ne" || name == "!=") return !equal(input, other, budget);
  if (name == "in") return contains(other, input, budget);
  if (name == "sameas") {
    return input.list() == other.list() && input.dict() == other.dict() &&
           std::string_view(kind_name(input)) == kind_name(other) && equal(input, other, budget);
  }
  const int order = compare(input, other, budget);
  if (name == "lt" || name == "lessthan" || name == "<") return order < 0;
  if (name == "le" || name == "<=") return order <= 0;
  if (name == "gt" || name == "greaterthan" || name == ">") return order > 0;
  return order >= 0;
}

}  // namespace athanor::model::jinja
