#include <algorithm>
#include <cstdlib>
#include <utility>

#include "common/error.h"
#include "engine/model/tokenizer/jinja/budget.h"
#include "engine/model/tokenizer/jinja/lexer.h"
#include "engine/model/tokenizer/jinja/syntax.h"

namespace athanor::model::jinja {

namespace {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Body run() {
    Body body = statements({});
    return body;
  }

 private:
  using E = Expression::Kind;
  using S = Statement::Kind;
  using T = Token::Kind;

  // Bounds the parser's own recursion, and with it how deep statements nest; add() bounds expressions.
  struct Deeper {
    explicit Deeper(Parser& parser) : parser(parser) {
      parser.bound(parser.depth_ + 1);
      ++parser.depth_;
    }
    ~Deeper() { --parser.depth_; }
    Parser& parser;
  };
  void bound(int depth) const {
    if (depth > kDepthMax) {
      refuse(fmt::format("it is nested too deeply: the limit of depth is {} levels", kDepthMax));
    }
  }

  const Token& now() const { return tokens_[at_]; }
  const Token& next() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  void step() { at_ += at_ + 1 < tokens_.size(); }
  bool is(T kind, std::string_view text) const { return now().kind == kind && now().text == text; }
  bool is_op(std::string_view text) const { return is(T::kOperator, text); }
  bool is_name(std::string_view text) const { return is(T::kName, text); }
  bool take_op(std::string_view text) { return is_op(text) && (step(), true); }
  bool take_name(std::string_view text) { return is_name(text) && (step(), true); }

  [[noreturn]] void refuse(const std::string& why) const {
    throw Error(ErrorKind::kInvalid, "The chat template is no Jinja that is supported, line {}: {}", now().line, why);
  }
  std::string here() const {
    return now().kind == T::kEnd ? "the end" : now().kind == T::kData ? "text" : fmt::format("'{}'", now().text);
  }
  void expect_op(std::string_view text) {
    if (!take_op(text)) refuse(fmt::format("'{}' was expected, not {}", text, here()));
  }
  void expect_name(std::string_view text) {
    if (!take_name(text)) refuse(fmt::format("'{}' was expected, not {}", text, here()));
  }
  std::string name() {
    if (now().kind != T::kName) refuse(fmt::format("a name was expected, not {}", here()));
    std::string text = now().text;
    step();
    return text;
  }
  void block_end() {
    if (now().kind != T::kBlockEnd) refuse(fmt::format("'%}}' was expected, not {}", here()));
    step();
  }

  // Up to a block that begins with one of `ends`, whose name is then the current token; to the end when there are none.
  Body statements(const std::vector<std::string_view>& ends) {
    const Deeper deeper(*this);
    Body body;
    for (;;) {
      if (now().kind == T::kEnd) {
        if (!ends.empty()) refuse(fmt::format("'{{% {} %}}' is missing", ends.back()));
        return body;
      }
      if (now().kind == T::kData) {
        body.push_back(make(S::kText));
        body.back().text = now().text;
        step();
      } else if (now().kind == T::kPrintBegin) {
        body.push_back(make(S::kPrint));
        step();
        body.back().expressions.push_back(tuple());
        if (now().kind != T::kPrintEnd) refuse(fmt::format("'}}}}' was expected, not {}", here()));
        step();
      } else {
        step();
        if (now().kind != T::kName) refuse(fmt::format("a statement was expected, not {}", here()));
        if (std::find(ends.begin(), ends.end(), now().text) != ends.end()) return body;
        statement(body);
      }
    }
  }

  // The body of a block up to its end, which is taken too.
  Body until(std::string_view end) {
    block_end();
    Body body = statements({end});
    step();
    block_end();
    return body;
  }

  // The same where what the body writes is taken up: it is written to its end, so that no loop around it can be left.
  Body block_until(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Body body = until(end);
    loops_ = loops;
    return body;
  }

  Statement make(S kind) const { return Statement{kind, now().line, {}, {}, {}, {}, {}, {}}; }

  void statement(Body& into) {
    Statement made = make(S::kIf);
    const std::string word = name();
    if (word == "if") {
      if_statement(made);
    } else if (word == "for") {
      for_statement(made);
    } else if (word == "set") {
      set_statement(made);
    } else if (word == "macro") {
      made.kind = S::kMacro;
      made.name = name();
      expect_op("(");
      parameters(made);
      made.body = block_until("endmacro");
    } else if (word == "call") {
      made.kind = S::kCallBlock;
      if (take_op("(")) parameters(made);
      made.expressions.push_back(expression());
      if (made.expressions.back()->kind != E::kCall) refuse("a call block calls nothing");
      made.body = block_until("endcall");
    } else if (word == "filter") {
      made.kind = S::kFilterBlock;
      made.expressions.push_back(block_filters(true));
      made.body = block_until("endfilter");
    } else if (word == "generation") {
      made.kind = S::kGeneration;
      made.body = until("endgeneration");
    } else if (word == "break" || word == "continue") {
      if (loops_ == 0) {
        refuse(fmt::format("'{}' stands in no loop, or in a block inside one that it cannot leave", word));
      }
      made.kind = word == "break" ? S::kBreak : S::kContinue;
      block_end();
    } else {
      --at_;
      refuse(fmt::format("the statement '{}' is not supported", word));
    }
    into.push_back(std::move(made));
  }

  void if_statement(Statement& made) {
    made.kind = S::kIf;
    made.expressions.push_back(tuple(false));
    block_end();
    made.body = statements({"elif", "else", "endif"});
    if (is_name("elif")) {
      made.otherwise.push_back(make(S::kIf));
      step();
      const Deeper deeper(*this);
      return if_statement(made.otherwise.back());
    }
    if (take_name("else")) {
      block_end();
      made.otherwise = statements({"endif"});
    }
    step();
    block_end();
  }

  void for_statement(Statement& made) {
    made.kind = S::kFor;
    targets(made.names);
    expect_name("in");
    made.expressions.push_back(tuple(false));
    made.expressions.push_back(take_name("if") ? expression() : nullptr);
    if (is_name("recursive")) refuse("a recursive loop is not supported");
    block_end();
    ++loops_;
    made.body = statements({"else", "endfor"});
    --loops_;
    if (take_name("else")) {
      block_end();
      made.otherwise = statements({"endfor"});
    }
    step();
    block_end();
  }

  void targets(std::vector<std::string>& names) {
    const bool bracket = take_op("(");
    do {
      if (is_name("in") || is_op("=") || is_op(")")) break;
      names.push_back(name());
    } while (take_op(","));
    if (bracket) expect_op(")");
    if (names.empty()) refuse(fmt::format("a name was expected, not {}", here()));
  }

  void set_statement(Statement& made) {
    made.kind = S::kSet;
    if (next().kind == T::kOperator && next().text == ".") {
      made.name = name();
      step();
      made.names.push_back(name());
    } else {
      targets(made.names);
    }
    if (take_op("=")) {
      made.expressions.push_back(tuple());
      return block_end();
    }
    if (made.names.size() > 1) refuse(fmt::format("'=' was expected, not {}", here()));
    // A block: an expression of filters, or none.
    made.expressions.push_back(is_op("|") ? block_filters(false) : nullptr);
    made.text = "block";
    made.body = block_until("endset");
  }

  void parameters(Statement& made) {
    while (!take_op(")")) {
      made.names.push_back(name());
      made.expressions.push_back(take_op("=") ? expression() : nullptr);
      if (!is_op(")")) expect_op(",");
    }
  }

  ExpressionPtr make(E kind, std::string name = "") const {
    auto made = std::make_unique<Expression>();
    made->kind = kind;
    made->line = now().line;
    made->name = std::move(name);
    return made;
  }
  ExpressionPtr make(E kind, std::string name, ExpressionPtr first, ExpressionPtr second = nullptr) const {
    ExpressionPtr made = make(kind, std::move(name));
    made->line = first->line;
    add(*made, std::move(first));
    if (second) add(*made, std::move(second));
    return made;
  }
  // A part, or none: whoever walks or frees the tree goes as deep as it is.
  void add(Expression& into, ExpressionPtr part) const {
    deepen(into, part);
    into.parts.push_back(std::move(part));
  }
  void deepen(Expression& into, const ExpressionPtr& part) const {
    if (!part) return;
    into.depth = std::max(into.depth, part->depth + 1);
    bound(into.depth);
  }

  // a, b, c without brackets: a list; a single expression is itself.
  ExpressionPtr tuple(bool with_condition = true) {
    ExpressionPtr first = with_condition ? expression() : disjunction();
    if (!is_op(",")) return first;
    ExpressionPtr list = make(E::kList);
    add(*list, std::move(first));
    while (take_op(",")) {
      if (now().kind == T::kBlockEnd || now().kind == T::kPrintEnd || is_op(")")) break;
      add(*list, with_condition ? expression() : disjunction());
    }
    return list;
  }

  ExpressionPtr expression() {
    const Deeper deeper(*this);
    ExpressionPtr value = disjunction();
    while (take_name("if")) {
      ExpressionPtr made = make(E::kCondition);
      add(*made, disjunction());
      add(*made, std::move(value));
      add(*made, take_name("else") ? expression() : nullptr);
      value = std::move(made);
    }
    return value;
  }

  // Left-associative operators: the tree grows deeper with each.
  template <typename Operand>
  ExpressionPtr chain(std::initializer_list<std::string_view> operators, bool words, const Operand& operand) {
    ExpressionPtr left = operand();
    for (;;) {
      const auto found = std::find_if(operators.begin(), operators.end(),
                                      [&](std::string_view op) { return words ? is_name(op) : is_op(op); });
      if (found == operators.end()) return left;
      step();
      left = make(E::kBinary, std::string(*found), std::move(left), operand());
    }
  }

  ExpressionPtr disjunction() {
    return chain({"or"}, true, [&] { return chain({"and"}, true, [&] { return negation(); }); });
  }

  ExpressionPtr negation() {
    if (!is_name("not")) return comparison();
    const Deeper deeper(*this);
    step();
    return make(E::kUnary, "not", negation());
  }

  ExpressionPtr comparison() {
    ExpressionPtr left = sum();
    ExpressionPtr made;
    for (;;) {
      std::string op;
      if (now().kind == T::kOperator && (now().text == "==" || now().text == "!=" || now().text == "<" ||
                                         now().text == ">" || now().text == "<=" || now().text == ">=")) {
        op = now().text;
      } else if (is_name("in")) {
        op = "in";
      } else if (is_name("not") && next().kind == T::kName && next().text == "in") {
        op = "not in";
        step();
      } else {
        break;
      }
      step();
      if (!made) made = make(E::kCompare, "", std::move(left));
      made->operators.push_back(op);
      add(*made, sum());
    }
    return made ? std::move(made) : std::move(left);
  }

  ExpressionPtr sum() {
    return chain({"+", "-"}, false, [&] {
      return chain({"~"}, false, [&] { return chain({"*", "/", "//", "%"}, false, [&] { return power(); }); });
    });
  }

  ExpressionPtr power() {
    return chain({"**"}, false, [&] { return unary(true); });
  }

  ExpressionPtr unary(bool with_filters) {
    const Deeper deeper(*this);
    ExpressionPtr value;
    if (is_op("-") || is_op("+")) {
      const std::string op = now().text;
      step();
      value = make(E::kUnary, op, unary(false));
    } else {
      value = primary();
    }
    value = postfix(std::move(value));
    return with_filters ? filters(std::move(value)) : std::move(value);
  }

  ExpressionPtr constant(Value value) {
    ExpressionPtr made = make(E::kConstant);
    made->value = std::move(value);
    step();
    return made;
  }

  ExpressionPtr primary() {
    const Token token = now();
    switch (token.kind) {
      case T::kName:
        if (token.text == "true" || token.text == "True") return constant(true);
        if (token.text == "false" || token.text == "False") return constant(false);
        if (token.text == "none" || token.text == "None") return constant(None{});
        step();
        return make(E::kName, token.text);
      case T::kString: {
        std::string text;
        for (; now().kind == T::kString; step()) text += now().text;
        --at_;
        return constant(std::move(text));
      }
      case T::kInteger: return constant(static_cast<std::int64_t>(std::strtoll(token.text.c_str(), nullptr, 10)));
      case T::kReal: return constant(std::strtod(token.text.c_str(), nullptr));
      case T::kOperator: break;
      default: refuse(fmt::format("an expression was expected, not {}", here()));
    }
    if (take_op("(")) {
      if (take_op(")")) return make(E::kList);
      ExpressionPtr inner = tuple();
      expect_op(")");
      return inner;
    }
    if (take_op("[")) {
      ExpressionPtr list = make(E::kList);
      while (!take_op("]")) {
        add(*list, expression());
        if (!is_op("]")) expect_op(",");
      }
      return list;
    }
    if (take_op("{")) {
      ExpressionPtr dict = make(E::kDict);
      while (!take_op("}")) {
        add(*dict, expression());
        expect_op(":");
        add(*dict, expression());
        if (!is_op("}")) expect_op(",");
      }
      return dict;
    }
    refuse(fmt::format("an expression was expected, not {}", here()));
  }

  ExpressionPtr postfix(ExpressionPtr value) {
    for (;;) {
      if (take_op(".")) {
        if (now().kind == T::kInteger) {
          value = make(E::kItem, "", std::move(value),
                       constant(static_cast<std::int64_t>(std::strtoll(now().text.c_str(), nullptr, 10))));
        } else {
          value = make(E::kAttribute, name(), std::move(value));
        }
      } else if (take_op("[")) {
        value = subscript(std::move(value));
      } else if (take_op("(")) {
        value = make(E::kCall, "", std::move(value));
        arguments(*value);
      } else {
        return value;
      }
    }
  }

  ExpressionPtr subscript(ExpressionPtr value) {
    ExpressionPtr parts[3];
    int count = 0;
    for (; count < 3; ++count) {
      if (!is_op(":") && !is_op("]")) parts[count] = expression();
      if (!take_op(":")) break;
    }
    expect_op("]");
    if (count == 0) {
      if (!parts[0]) refuse("there is nothing between [ and ]");
      return make(E::kItem, "", std::move(value), std::move(parts[0]));
    }
    ExpressionPtr made = make(E::kSlice, "", std::move(value));
    for (ExpressionPtr& part : parts) add(*made, std::move(part));
    return made;
  }

  // After "(", up to and with ")".
  void arguments(Expression& into) {
    while (!take_op(")")) {
      if (is_op("*") || is_op("**")) refuse("arguments by * are not supported");
      if (now().kind == T::kName && next().kind == T::kOperator && next().text == "=") {
        std::string key = name();
        step();
        into.named.emplace_back(std::move(key), expression());
        deepen(into, into.named.back().second);
      } else {
        if (!into.named.empty()) refuse("an argument without a name follows one with a name");
        add(into, expression());
      }
      if (!is_op(")")) expect_op(",");
    }
  }

  ExpressionPtr filter(ExpressionPtr value) {
    ExpressionPtr made = make(E::kFilter);
    made->name = name();
    while (take_op(".")) made->name += "." + name();
    add(*made, std::move(value));
    if (take_op("(")) arguments(*made);
    return made;
  }

  // Of a block, whose body is what is filtered: filters alone. `started`: the first has no "|".
  ExpressionPtr block_filters(bool started) {
    ExpressionPtr value;
    while (std::exchange(started, false) || take_op("|")) value = filter(std::move(value));
    return value;
  }

  // |filter(…) and `is test`, any number.
  ExpressionPtr filters(ExpressionPtr value) {
    for (;;) {
      if (take_op("|")) {
        value = filter(std::move(value));
      } else if (take_name("is")) {
        value = test(std::move(value));
      } else if (take_op("(")) {
        value = make(E::kCall, "", std::move(value));
        arguments(*value);
      } else {
        return value;
      }
    }
  }

  ExpressionPtr test(ExpressionPtr value) {
    const bool negated = take_name("not");
    ExpressionPtr made = make(E::kTest, name(), std::move(value));
    if (take_op("(")) {
      arguments(*made);
    } else if ((now().kind == T::kName && !is_name("else") && !is_name("or") && !is_name("and") && !is_name("if") &&
                !is_name("is") && !is_name("in") && !is_name("not")) ||
               now().kind == T::kString || now().kind == T::kInteger || now().kind == T::kReal || is_op("[") ||
               is_op("{")) {
      add(*made, postfix(primary()));
    }
    return negated ? make(E::kUnary, "not", std::move(made)) : std::move(made);
  }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0, loops_ = 0;
};

}  // namespace

Body parse_template(std::string_view source) { return Parser(tokenize_template(source)).run(); }

}  // namespace athanor::model::jinja
