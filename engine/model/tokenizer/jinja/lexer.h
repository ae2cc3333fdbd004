// Cuts a template into its tokens; white space control is done here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace athanor::model::jinja {

struct Token {
  enum class Kind {
    kData,        // text between tags
    kBlockBegin,  // {%
    kBlockEnd,
    kPrintBegin,  // {{
    kPrintEnd,
    kName,
    kString,  // its value, escapes resolved
    kInteger,
    kReal,
    kOperator,
    kEnd,
  };
  Kind kind;
  int line;
  std::string text;
};

// Ends with a kEnd. Throws kInvalid, naming the line.
std::vector<Token> tokenize_template(std::string_view source);

}  // namespace athanor::model::jinja
