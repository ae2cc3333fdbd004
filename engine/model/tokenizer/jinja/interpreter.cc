#include "engine/model/tokenizer/jinja/interpreter.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "common/counts.h"
#include "common/error.h"
#include "engine/model/tokenizer/jinja/access.h"
#include "engine/model/tokenizer/jinja/budget.h"
#include "engine/model/tokenizer/jinja/filters.h"
#include "engine/model/tokenizer/jinja/functions.h"
#include "engine/model/tokenizer/jinja/strings.h"
#include "engine/model/tokenizer/jinja/tests.h"

namespace athanor::model::jinja {

namespace {

constexpr std::size_t kLoopItems = 12;  // of the dict `loop`

struct Scope {
  std::vector<std::pair<std::string, Value>> names;
  Scope* outer = nullptr;
  bool captured = false;  // a macro was defined here, and may be called later
};

constexpr std::string_view kDictMethods[] = {"items", "keys", "values", "get"};
bool is_dict_method(std::string_view name) {
  return std::find(std::begin(kDictMethods), std::end(kDictMethods), name) != std::end(kDictMethods);
}

Value dict_method(const Dict& dict, std::string_view name, const Arguments& arguments, Budget& budget) {
  budget.spend(dict.size(), name == "get" ? 1 : 3 * Budget::kItem);
  if (name == "get") {
    const Value key = arguments.get(0, "key");
    const Value* found = key.text() ? find(dict, key.text()->bytes) : nullptr;
    return found ? *found : arguments.get(1, "default", None{});
  }
  List list;
  for (const auto& [key, value] : dict) {
    list.push_back(name == "items" ? Value(List{key, value}) : name == "keys" ? Value(key) : value);
  }
  return list;
}

class Interpreter {
 public:
  explicit Interpreter(std::time_t now) : context_(now) {}

  Rendered run(const Body& body, const Dict& variables) {
    Scope globals{variables, nullptr, false}, top{{}, &globals, false};
    scope_ = &top;
    out_ = &rendered_.text;
    try {
      execute(body);
    } catch (const Error& error) {
      throw Error(error.kind(), "The chat template fails in line {}: {}", line_, error.what());
    }
    return std::move(rendered_);
  }

 private:
  enum class Flow { kOn, kBreak, kContinue };
  using E = Expression::Kind;
  using S = Statement::Kind;

  template <typename... Args>
  [[noreturn]] static void refuse(fmt::format_string<Args...> why, Args&&... args) {
    throw Error(ErrorKind::kInvalid, why, std::forward<Args>(args)...);
  }

  void step(int line) {
    line_ = line;
    budget_.spend(1, Budget::kItem);
  }

  struct Deeper {
    explicit Deeper(int& depth) : depth(depth) {
      check_depth(depth + 1, "what it runs");
      ++depth;
    }
    ~Deeper() { --depth; }
    int& depth;
  };

  // Names.

  void assign(const std::string& name, Value value) {
    for (auto& [known, held] : scope_->names) {
      if (known == name) return void(held = std::move(value));
    }
    scope_->names.emplace_back(name, std::move(value));
  }

  void assign(const std::vector<std::string>& names, const Value& value) {
    if (names.size() == 1) return assign(names[0], value);
    const List items = items_of(value, budget_);
    if (items.size() != names.size())
      refuse("{} names are given {}", names.size(), format_count(std::ssize(items), "value"));
    for (std::size_t i = 0; i < names.size(); ++i) assign(names[i], items[i]);
  }

  Value look_up(const std::string& name) {
    for (const Scope* scope = scope_; scope; scope = scope->outer) {
      budget_.spend(scope->names.size());
      for (const auto& [known, value] : scope->names) {
        if (known == name) return value;
      }
    }
    if (auto found = global(name, context_)) return *found;
    return Undefined{name};
  }

  // Runs `inside` in a scope of its own.
  template <typename Inside>
  void scoped(Scope* outer, const Inside& inside) {
    auto scope = std::make_unique<Scope>();
    scope->outer = outer;
    Scope* before = scope_;
    scope_ = scope.get();
    inside();
    scope_ = before;
    if (scope->captured) {
      budget_.spend(scope->names.size() + kLoopItems, Budget::kItem);
      kept_.push_back(std::move(scope));
    }
  }

  template <typename Inside>
  Text captured(const Inside& inside) {
    Text text;
    Text* before = out_;
    out_ = &text;
    inside();
    out_ = before;
    return text;
  }

  // Statements.

  Flow execute(const Body& body) {
    for (const Statement& statement : body) {
      if (const Flow flow = execute(statement); flow != Flow::kOn) return flow;
    }
    return Flow::kOn;
  }

  Flow execute(const Statement& statement) {
    const Deeper deeper(depth_);
    step(statement.line);
    switch (statement.kind) {
      case S::kText:
        budget_.spend(statement.text.size());
        out_->append(statement.text);
        break;
      case S::kPrint: out_->append(to_text(evaluate(*statement.expressions[0]), budget_)); break;
      case S::kIf: return execute(truth(evaluate(*statement.expressions[0])) ? statement.body : statement.otherwise);
      case S::kFor: return loop(statement);
      case S::kSet: set(statement); break;
      case S::kMacro: assign(statement.name, macro(statement)); break;
      case S::kCallBlock: call_block(statement); break;
      case S::kFilterBlock: {
        const Text text = captured([&] { scoped(scope_, [&] { execute(statement.body); }); });
        out_->append(to_text(evaluate_filter(*statement.expressions[0], text), budget_));
        break;
      }
      case S::kGeneration: {
        const std::size_t begin = out_->bytes.size();
        const Flow flow = execute(statement.body);
        if (out_ == &rendered_.text) rendered_.generated.emplace_back(begin, out_->bytes.size());
        return flow;
      }
      case S::kBreak: return Flow::kBreak;
      case S::kContinue: return Flow::kContinue;
    }
    return Flow::kOn;
  }

  void set(const Statement& statement) {
    const Expression* value = statement.expressions[0].get();
    Value made;
    if (statement.text.empty()) {
      made = evaluate(*value);
    } else {
      made = captured([&] { scoped(scope_, [&] { execute(statement.body); }); });
      if (value) made = evaluate_filter(*value, made);
    }
    if (statement.name.empty()) return assign(statement.names, made);
    Namespace* space = look_up(statement.name).space();
    if (!space) {
      refuse("'{}' is no namespace, so '{}.{}' cannot be set", statement.name, statement.name, statement.names[0]);
    }
    space->fields[statement.names[0]] = std::move(made);
  }

  // A break or continue in what is run when there are no items is one of the loop around.
  Flow loop(const Statement& statement) {
    List items = items_of(evaluate(*statement.expressions[0]), budget_);
    if (const Expression* condition = statement.expressions[1].get()) {
      List kept;
      for (Value& item : items) {
        scoped(scope_, [&] {
          assign(statement.names, item);
          if (truth(evaluate(*condition))) kept.push_back(std::move(item));
        });
      }
      items = std::move(kept);
    }
    Flow flow = Flow::kOn;
    if (items.empty()) {
      scoped(scope_, [&] { flow = execute(statement.otherwise); });
      return flow;
    }
    const auto count = static_cast<std::int64_t>(items.size());
    const std::shared_ptr<Namespace> changes = context_.make_space();  // loop.changed() may outlive the loop
    for (std::int64_t i = 0; i < count && flow != Flow::kBreak; ++i) {
      step(statement.line);
      const auto at = [&](std::int64_t index) -> Value {
        return index < 0 || index >= count ? Value(Undefined{"there is no previous or next item"})
                                           : items[static_cast<std::size_t>(index)];
      };
      scoped(scope_, [&] {
        assign("loop",
               Dict{{"index", i + 1},
                    {"index0", i},
                    {"revindex", count - i},
                    {"revindex0", count - i - 1},
                    {"first", i == 0},
                    {"last", i + 1 == count},
                    {"length", count},
                    {"previtem", at(i - 1)},
                    {"nextitem", at(i + 1)},
                    {"depth", std::int64_t{loops_ + 1}},
                    {"depth0", std::int64_t{loops_}},
                    {"cycle", Function{"cycle",
                                       [i](const Arguments& given) -> Value {
                                         if (given.positional.empty()) refuse("loop.cycle() needs values");
                                         return given.positional[static_cast<std::size_t>(i) % given.positional.size()];
                                       }}},
                    {"changed", Function{"changed", [this, space = changes.get()](const Arguments& given) -> Value {
                                           Value now = given.positional, &last = space->fields["last"];
                                           const bool changed = last.undefined() || !equal(now, last, budget_);
                                           last = std::move(now);
                                           return changed;
                                         }}}});
        assign(statement.names, items[static_cast<std::size_t>(i)]);
        ++loops_;
        flow = execute(statement.body);
        --loops_;
      });
    }
    return Flow::kOn;
  }

  Function macro(const Statement& statement) {
    Scope* home = scope_;
    for (Scope* scope = home; scope; scope = scope->outer) scope->captured = true;
    return Function{statement.name, [this, &statement, home](const Arguments& given) -> Value {
                      if (given.positional.size() > statement.names.size()) {
                        refuse("the macro '{}' takes {} arguments, not {}", statement.name, statement.names.size(),
                               given.positional.size());
                      }
                      for (const auto& [name, value] : given.named) {
                        if (name != "caller" &&
                            std::find(statement.names.begin(), statement.names.end(), name) == statement.names.end()) {
                          refuse("the macro '{}' has no argument '{}'", statement.name, name);
                        }
                      }
                      const int line = line_;
                      Text text = captured([&] {
                        scoped(home, [&] {
                          for (std::size_t i = 0; i < statement.names.size(); ++i) {
                            const bool stated = given.has(i, statement.names[i]);
                            const Expression* otherwise =
                                i < statement.expressions.size() ? statement.expressions[i].get() : nullptr;
                            assign(statement.names[i], stated      ? given.get(i, statement.names[i])
                                                       : otherwise ? evaluate(*otherwise)
                                                                   : Value(Undefined{statement.names[i]}));
                          }
                          if (given.has(statement.names.size(), "caller")) {
                            assign("caller", given.get(statement.names.size(), "caller"));
                          }
                          execute(statement.body);
                        });
                      });
                      line_ = line;
                      return text;
                    }};
  }

  void call_block(const Statement& statement) {
    const Expression& call = *statement.expressions.back();
    Arguments given = arguments_of(call, 1);
    Function caller = macro(statement);
    caller.name = "caller";
    given.named.emplace_back("caller", std::move(caller));
    const Value called = evaluate(*call.parts[0]);
    if (!called.function()) refuse("a value of the kind {} cannot be called", kind_name(called));
    out_->append(to_text(called.function()->call(given), budget_));
  }

  // Expressions.

  Value evaluate(const Expression& expression) {
    const Deeper deeper(depth_);
    step(expression.line);
    switch (expression.kind) {
      case E::kConstant: return expression.value;
      case E::kName: return look_up(expression.name);
      case E::kList: {
        List list;
        for (const ExpressionPtr& part : expression.parts) list.push_back(evaluate(*part));
        return list;
      }
      case E::kDict: return dict(expression);
      case E::kUnary: return unary(expression);
      case E::kBinary: return binary(expression);
      case E::kCompare: return compared(expression);
      case E::kCondition: {
        const bool holds = truth(evaluate(*expression.parts[0]));
        if (!holds && !expression.parts[2]) return Undefined{"the inline if without an else"};
        return evaluate(*expression.parts[holds ? 1 : 2]);
      }
      case E::kAttribute: return attribute(evaluate(*expression.parts[0]), expression.name);
      case E::kItem: return item(evaluate(*expression.parts[0]), evaluate(*expression.parts[1]));
      case E::kSlice: return slice(expression);
      case E::kCall: return call(expression);
      case E::kFilter: return evaluate_filter(expression, std::nullopt);
      case E::kTest: {
        const Value input = evaluate(*expression.parts[0]);
        return apply_test(expression.name, input, arguments_of(expression, 1), budget_);
      }
    }
    return None{};
  }

  Value evaluate_filter(const Expression& expression, std::optional<Value> input) {
    const Expression* from = expression.parts[0].get();
    ATHANOR_ASSERT(from || input);
    const Value value =
        from ? (from->kind == E::kFilter && input ? evaluate_filter(*from, std::move(input)) : evaluate(*from))
             : *input;
    return apply_filter(expression.name, value, arguments_of(expression, 1), budget_);
  }

  Arguments arguments_of(const Expression& expression, std::size_t from) {
    Arguments given;
    for (std::size_t i = from; i < expression.parts.size(); ++i) {
      given.positional.push_back(evaluate(*expression.parts[i]));
    }
    for (const auto& [name, value] : expression.named) given.named.emplace_back(name, evaluate(*value));
    return given;
  }

  Value dict(const Expression& expression) {
    Dict made;
    for (std::size_t i = 0; i < expression.parts.size(); i += 2) {
      const Value key = evaluate(*expression.parts[i]);
      if (!key.text()) refuse("a dict has a key of the kind {}; only texts are supported", kind_name(key));
      Value value = evaluate(*expression.parts[i + 1]);
      budget_.spend(made.size());
      const auto known =
          std::find_if(made.begin(), made.end(), [&](const auto& entry) { return entry.first == key.text()->bytes; });
      known == made.end() ? void(made.emplace_back(key.text()->bytes, std::move(value)))
                          : void(known->second = std::move(value));
    }
    return made;
  }

  Value unary(const Expression& expression) {
    const Value value = evaluate(*expression.parts[0]);
    if (expression.name == "not") return !truth(value);
    if (!value.number()) refuse("'{}' is not possible with a value of the kind {}", expression.name, kind_name(value));
    if (expression.name == "+") return value;
    if (value.real()) return -*value.real();
    return arithmetic("-", std::int64_t{0}, value);
  }

  Value binary(const Expression& expression) {
    const std::string& op = expression.name;
    const Value left = evaluate(*expression.parts[0]);
    if (op == "and") return truth(left) ? evaluate(*expression.parts[1]) : left;
    if (op == "or") return truth(left) ? left : evaluate(*expression.parts[1]);
    const Value right = evaluate(*expression.parts[1]);
    line_ = expression.line;
    if (op == "~") return concatenated(to_text(left, budget_), to_text(right, budget_));
    for (const Value* side : {&left, &right}) {
      if (side->undefined()) refuse("'{}' is undefined", side->undefined()->name);
    }
    if (left.number() && right.number()) return arithmetic(op, left, right);
    if (op == "+" && left.text() && right.text()) return concatenated(*left.text(), *right.text());
    if (op == "+" && left.list() && right.list()) {
      budget_.spend(left.list()->size() + right.list()->size(), Budget::kItem);
      List list = *left.list();
      list.insert(list.end(), right.list()->begin(), right.list()->end());
      return list;
    }
    if (op == "*" && (left.text() || right.text()) && (left.integer() || right.integer())) {
      const Text& text = left.text() ? *left.text() : *right.text();
      const std::int64_t times = std::max<std::int64_t>(0, left.integer() ? *left.integer() : *right.integer());
      budget_.spend(static_cast<std::uint64_t>(times), text.bytes.size());
      Text made;
      for (std::int64_t i = 0; i < times && !text.bytes.empty(); ++i) made.append(text);
      return made;
    }
    refuse("'{}' is not possible between values of the kinds {} and {}", op, kind_name(left), kind_name(right));
  }

  Text concatenated(Text left, const Text& right) {
    budget_.spend(left.bytes.size() + right.bytes.size());
    left.append(right);
    return left;
  }

  static Value power(std::int64_t base, std::int64_t exponent) {
    if (base == 0 || base == 1) return exponent == 0 ? std::int64_t{1} : base;
    if (base == -1) return exponent % 2 == 0 ? std::int64_t{1} : base;
    std::int64_t result = 1;
    for (; exponent > 0; --exponent) {
      if (__builtin_mul_overflow(result, base, &result)) refuse("a number becomes too large");
    }
    return result;
  }

  static Value arithmetic(const std::string& op, const Value& left, const Value& right) {
    const bool real = left.real() || right.real();
    const double x = left.as_real(), y = right.as_real();
    if ((op == "/" || op == "//" || op == "%") && y == 0) refuse("a number is divided by 0");
    if (op == "/") return x / y;
    if (op == "**") {
      if (x == 0 && y < 0) refuse("a number is divided by 0");
      return real || y < 0 ? Value(std::pow(x, y)) : power(left.as_integer(), right.as_integer());
    }
    if (real) {
      if (op == "+") return x + y;
      if (op == "-") return x - y;
      if (op == "*") return x * y;
      return op == "//" ? std::floor(x / y) : x - y * std::floor(x / y);
    }
    const std::int64_t a = left.as_integer(), b = right.as_integer();
    std::int64_t result = 0;
    bool overflow = false;
    if (op == "+") {
      overflow = __builtin_add_overflow(a, b, &result);
    } else if (op == "-") {
      overflow = __builtin_sub_overflow(a, b, &result);
    } else if (op == "*") {
      overflow = __builtin_mul_overflow(a, b, &result);
    } else if (b == -1) {
      overflow = op == "//" && __builtin_sub_overflow(std::int64_t{0}, a, &result);
    } else {
      const std::int64_t quotient = a / b - ((a % b != 0) && ((a < 0) != (b < 0)));
      result = op == "//" ? quotient : a - quotient * b;
    }
    if (overflow) refuse("a number becomes too large");
    return result;
  }

  Value compared(const Expression& expression) {
    Value left = evaluate(*expression.parts[0]);
    for (std::size_t i = 0; i < expression.operators.size(); ++i) {
      const std::string& op = expression.operators[i];
      Value right = evaluate(*expression.parts[i + 1]);
      bool holds;
      if (op == "==" || op == "!=") {
        holds = equal(left, right, budget_) == (op == "==");
      } else if (op == "in" || op == "not in") {
        holds = contains(right, left, budget_) == (op == "in");
      } else {
        for (const Value* side : {&left, &right}) {
          if (side->undefined()) refuse("'{}' is undefined", side->undefined()->name);
        }
        const int order = compare(left, right, budget_);
        holds = op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0;
      }
      if (!holds) return false;
      left = std::move(right);
    }
    return true;
  }

  // A method, or what attribute_of() finds.
  Value attribute(const Value& value, const std::string& name) {
    const bool method = (value.text() && is_text_method(name)) || (value.dict() && is_dict_method(name));
    if (!method) return attribute_of(value, name, budget_);
    return Function{name,
                    [this, value, name](const Arguments& given) -> Value {
                      return value.dict() ? dict_method(*value.dict(), name, given, budget_)
                                          : *text_method(*value.text(), name, given, budget_);
                    },
                    value.depth()};
  }

  Value item(const Value& value, const Value& key) {
    Value found = item_of(value, key, budget_);
    if (!found.undefined() || !key.text() || value.dict()) return found;
    return attribute(value, key.text()->bytes);
  }

  Value slice(const Expression& expression) {
    const Value value = evaluate(*expression.parts[0]);
    std::optional<std::int64_t> bounds[3];
    for (int i = 0; i < 3; ++i) {
      const Expression* part = expression.parts[static_cast<std::size_t>(i) + 1].get();
      const Value given = part ? evaluate(*part) : Value(None{});
      if (given.none()) continue;
      if (!given.number() || given.real()) {
        refuse("a slice needs whole numbers, not a value of the kind {}", kind_name(given));
      }
      bounds[i] = given.as_integer();
    }
    const std::int64_t by = bounds[2].value_or(1);
    if (by == 0) refuse("a slice cannot go in steps of 0");
    if (value.dict() || (!value.list() && !value.text() && !value.undefined())) {
      refuse("a value of the kind {} cannot be sliced", kind_name(value));
    }
    if (value.undefined()) refuse("'{}' is undefined", value.undefined()->name);
    // A text's characters are only made where they do not stand in a row.
    const bool row = value.text() && by == 1;
    if (row) budget_.spend(value.text()->bytes.size(), 2);
    const List items = row ? List() : items_of(value, budget_);
    const auto count = row ? length_of(value) : static_cast<std::int64_t>(items.size());
    const auto placed = [&](std::optional<std::int64_t> given, std::int64_t otherwise) {
      if (!given) return otherwise;
      const std::int64_t at = *given < 0 ? *given + count : *given;
      return by > 0 ? std::clamp<std::int64_t>(at, 0, count) : std::clamp<std::int64_t>(at, -1, count - 1);
    };
    const std::int64_t begin = placed(bounds[0], by > 0 ? 0 : count - 1), end = placed(bounds[1], by > 0 ? count : -1);
    if (row) {
      if (begin >= end) return Text();
      const std::vector<std::size_t> starts = character_starts(value.text()->bytes);
      return value.text()->slice(starts[static_cast<std::size_t>(begin)], starts[static_cast<std::size_t>(end)]);
    }
    List kept;
    for (std::int64_t i = begin; by > 0 ? i < end : i > end;) {
      kept.push_back(items[static_cast<std::size_t>(i)]);
      if (__builtin_add_overflow(i, by, &i)) break;
    }
    return value.text() ? Value(join(kept, Text(), budget_)) : Value(std::move(kept));
  }

  Value call(const Expression& expression) {
    const Expression& callee = *expression.parts[0];
    const Value called = callee.kind == E::kAttribute ? method_of(callee) : evaluate(callee);
    const Arguments given = arguments_of(expression, 1);
    line_ = expression.line;
    if (called.undefined()) refuse("'{}' is undefined, so it cannot be called", called.undefined()->name);
    if (!called.function()) refuse("a value of the kind {} cannot be called", kind_name(called));
    return called.function()->call(given);
  }

  Value method_of(const Expression& callee) {
    const Value value = evaluate(*callee.parts[0]);
    Value found = attribute(value, callee.name);
    if (found.undefined()) {
      refuse("a value of the kind {} has no method '{}' that is supported", kind_name(value), callee.name);
    }
    return found;
  }

  Context context_;
  Budget& budget_ = context_.budget;
  Rendered rendered_;
  Text* out_ = nullptr;
  Scope* scope_ = nullptr;
  std::vector<std::unique_ptr<Scope>> kept_;
  int line_ = 1, loops_ = 0, depth_ = 0;
};

}  // namespace

Rendered render(const Body& body, const Dict& variables, std::time_t now) {
  return Interpreter(now).run(body, variables);
}

}  // namespace athanor::model::jinja
