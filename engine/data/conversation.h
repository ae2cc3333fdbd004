// What instruction tuning learns from, as text, and the interface that turns it into tokens. The chat template of a model
// is behind that interface: here nobody knows of templates, and there nobody knows of files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "common/json.h"

namespace athanor::data {

struct Message {
  std::string role;  // "system", "user", "assistant", or another that the template knows
  std::string content;
  // What else the message has, for the template to read: "name", "reasoning_content", "tool_calls". Of a message with tool_calls
  // its content is here as well, where it may be null or missing.
  json::object others = {};
  bool operator==(const Message&) const = default;
};

// To be learnt are the answers: messages of the assistant. Those before `answers_from` are only read.
struct Conversation {
  std::vector<Message> messages;
  std::size_t answers_from = 0;
  json::value tools = nullptr;  // what the model may call: a list of JSON schemas, or null
  json::object variables = {};  // what else the template shall see ("enable_thinking")
  bool operator==(const Conversation&) const = default;
};

// Plain texts, without a template: the completion is learnt, the prompt is only read.
struct Completion {
  std::string prompt;
  std::string completion;
  bool operator==(const Completion&) const = default;
};

// Learnt from its beginning to its end.
struct Text {
  std::string text;
  bool operator==(const Text&) const = default;
};

using Example = std::variant<Text, Completion, Conversation>;

// Consecutive tokens of a document that are all learnt, or all only read.
struct TokenRun {
  std::vector<std::int32_t> tokens;
  bool in_loss = false;
  bool operator==(const TokenRun&) const = default;
};

// A document's tokens are those of its runs, in order; neighbours may be alike, and runs may be empty. One thread.
//
// A token is in the loss when the model shall learn to write it: the content of an answer and the token that ends it (so
// that generation stops there), the completion and the end of text, a whole text and its end. What a template puts
// before an answer ("<|im_start|>assistant\n") and all other messages are not. Answers and completions begin with a token
// of their own, as they do when a model writes them; within these parts, tokens are those of the whole.
//
// Throws kInvalid with the reason when a conversation is none for the template (a role that it does not know).
class ExampleTokenizer {
 public:
  virtual ~ExampleTokenizer() = default;
  virtual std::vector<TokenRun> tokens(const Conversation& conversation) = 0;
  virtual std::vector<TokenRun> tokens(const Completion& completion) = 0;
  virtual std::vector<TokenRun> tokens(const Text& text) = 0;
};

}  // namespace athanor::data
