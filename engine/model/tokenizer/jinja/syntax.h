// The syntax tree of a template, and its parser: Jinja's language as its version 3 defines it, with the options that
// Hugging Face sets (trim_blocks, lstrip_blocks) and its extensions (break and continue, generation).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/model/tokenizer/jinja/value.h"

namespace athanor::model::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind {
    kConstant,   // value
    kName,       // name
    kList,       // parts
    kDict,       // parts: key, value, key, value …
    kUnary,      // name: "-", "+", "not"; parts[0]
    kBinary,     // name: "+", "and", …; parts[0], parts[1]
    kCompare,    // parts[0] operators[0] parts[1] operators[1] …
    kCondition,  // parts: condition, then, otherwise (may be null)
    kAttribute,  // parts[0].name
    kItem,       // parts[0][parts[1]]
    kSlice,      // parts[0][parts[1]:parts[2]:parts[3]], any of which may be null
    kCall,       // parts[0](parts[1] …, named …)
    kFilter,     // parts[0]|name(parts[1] …, named …); parts[0] is null for a filter block's body
    kTest,       // parts[0] is name(parts[1] …)
  };
  Kind kind;
  int line;
  int depth = 1;  // one more than that of its deepest part; at most kDepthMax
  std::string name;
  Value value;
  std::vector<ExpressionPtr> parts;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  std::vector<std::string> operators;
};

struct Statement;
using Body = std::vector<Statement>;

struct Statement {
  enum class Kind {
    kText,         // text
    kPrint,        // expressions[0]
    kIf,           // expressions[0], body, otherwise
    kFor,          // names in expressions[0], kept if expressions[1] (may be null); body, otherwise
    kSet,          // names = expressions[0]; or name's attribute, "ns.field"; or the body, filtered by expressions[0]
    kMacro,        // name(names = expressions); an expression may be null
    kCallBlock,    // {% call(names = expressions) the last of expressions %}body
    kFilterBlock,  // body, filtered by expressions[0]
    kGeneration,   // body: what the model writes
    kBreak,
    kContinue,
  };
  Kind kind;
  int line;
  std::string text, name;
  std::vector<std::string> names;
  std::vector<ExpressionPtr> expressions;
  Body body, otherwise;
};

// Throws kInvalid, naming the line and what stands there.
Body parse_template(std::string_view source);

}  // namespace athanor::model::jinja
