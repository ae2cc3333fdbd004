#include "engine/cli/requests.h"

#include <ctime>
#include <iostream>
#include <iterator>
#include <utility>

#include "common/error.h"
#include "engine/data/example.h"
#include "engine/data/json_lines.h"
#include "engine/model/tokenizer/chat_templates.h"

namespace athanor::llm {

namespace {

json::object message(std::string_view role, std::string_view content) {
  json::object message;
  message["role"] = role;
  message["content"] = content;
  return message;
}

json::array user_says(std::string_view text) {
  json::array messages;
  messages.emplace_back(message("user", text));
  return messages;
}

Request request_of_line(std::string_view line, const std::string& source, bool chat) {
  if (line.front() != '{') return chat ? Request{{}, user_says(line), {}} : Request{std::string(line), {}, {}};
  const json::value parsed = json::parse(line, source);
  const json::object& object = parsed.get_object();
  if (const json::array* messages = json::find_array(object, "messages")) {
    if (messages->empty()) throw Error(ErrorKind::kInvalid, "{}: \"messages\" is empty", source);
    try {
      return {{}, *messages, {}, data::tools_of(object), data::variables_of(object)};
    } catch (const Error& error) {
      throw Error(error.kind(), "{}: {}", source, error.what());
    }
  }
  const json::value* prompt = object.if_contains("prompt");
  if (!prompt) throw Error(ErrorKind::kInvalid, "{} has neither \"prompt\" nor \"messages\"", source);
  if (!prompt->is_string()) throw Error(ErrorKind::kInvalid, "{}: \"prompt\" must be a text", source);
  const std::string text(prompt->get_string());
  return chat ? Request{{}, user_says(text), {}} : Request{text, {}, {}};
}

// Without the line break that `echo` and editors end a text with: a model would go on after it as after a paragraph.
std::string standard_input() {
  std::string text(std::istreambuf_iterator<char>(std::cin), {});
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

std::vector<model::TokenId> tokens_of_text(const model::Tokenizer& tokenizer, const std::string& text) {
  std::vector<model::TokenId> tokens = tokenizer.parts().before;  // as the model has seen texts begin
  model::Encoder(tokenizer).encode(text, tokens);
  if (tokens.empty()) tokens.push_back(tokenizer.end_of_text().value_or(0));  // a text begins where another has ended
  return tokens;
}

}  // namespace

std::vector<Request> requests_of(Files& files, const RequestOptions& options, const model::Tokenizer& tokenizer) {
  const bool chat = options.chat || !options.system.empty();
  std::vector<Request> requests;
  for (const std::string& given : options.prompts) {
    std::string prompt = given == "-" ? standard_input() : given;
    requests.push_back(chat ? Request{{}, user_says(prompt), {}} : Request{std::move(prompt), {}, {}});
  }
  if (!options.file.empty()) {
    data::for_each_line(files, options.file, [&](std::string_view line, const std::string& source) {
      requests.push_back(request_of_line(line, source, chat));
    });
    if (requests.size() == options.prompts.size()) {
      throw Error(ErrorKind::kInvalid, "{} has no prompts: every line is one", options.file);
    }
  }
  if (requests.empty()) {
    if (chat) throw Error(ErrorKind::kInvalid, "Say what the user says: --prompt TEXT, or --prompts FILE");
    requests.emplace_back();
  }

  model::ChatTemplates templates(tokenizer);
  model::ChatOptions chat_options = model::chat_options(tokenizer, model::local_time(std::time(nullptr)));
  chat_options.add_generation_prompt = true;
  for (Request& request : requests) {
    if (request.messages.empty()) {
      request.tokens = tokens_of_text(tokenizer, request.prompt);
      continue;
    }
    if (templates.empty()) {
      throw Error(ErrorKind::kInvalid,
                  "The model has no chat template, so that nobody knows how it was taught to chat: continue "
                  "texts instead (--prompt alone), or put a chat_template.jinja beside its tokenizer");
    }
    const json::value& first = request.messages.front();
    const bool has_system = first.is_object() && json::find_string(first.get_object(), "role") == "system";
    if (!options.system.empty() && !has_system) {
      request.messages.insert(request.messages.begin(), message("system", options.system));
    }
    chat_options.tools = request.tools;
    chat_options.variables = request.variables;
    request.tokens = templates.encode(request.messages, chat_options).ids;
    if (request.tokens.empty()) {
      throw Error(ErrorKind::kInvalid, "The model's chat template makes an empty text of a chat");
    }
  }
  return requests;
}

}  // namespace athanor::llm
