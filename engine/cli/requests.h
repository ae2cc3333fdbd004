// What `athanor-llm generate` is asked to continue: prompts and chats from the command line, standard input and files.
#pragma once

#include <string>
#include <vector>

#include "common/files.h"
#include "common/json.h"
#include "engine/model/tokenizer/tokenizer.h"

namespace athanor::llm {

struct Request {
  std::string prompt;    // a text to continue; empty for a chat
  json::array messages;  // a chat to answer; empty for a text
  std::vector<model::TokenId> tokens;
  json::value tools = nullptr;  // what a chat's answer may call: a list of JSON schemas, or null
  json::object variables = {};  // what else the chat's template sees
};

struct RequestOptions {
  std::vector<std::string> prompts;  // "-": standard input
  // A prompt a line, or {"prompt": …} or {"messages": […]}; chats may have "tools" and "chat_template_kwargs" (data/example.h).
  // Empty: none.
  std::string file;
  bool chat = false;   // prompts are what a user says
  std::string system;  // goes before every chat that has no message of the system's
};

// At least one: without prompts, the empty text. Throws kInvalid, naming the line; kNotFound.
std::vector<Request> requests_of(Files& files, const RequestOptions& options, const model::Tokenizer& tokenizer);

}  // namespace athanor::llm
