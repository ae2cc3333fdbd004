#include "engine/data/example.h"

#include <algorithm>

#include "common/error.h"

namespace athanor::data {

namespace {

constexpr std::string_view kAssistant = "assistant";

template <typename... Args>
Error wrong(fmt::format_string<Args...> format, Args&&... args) {
  return Error(ErrorKind::kInvalid, format, std::forward<Args>(args)...);
}

std::string text_of(const json::object& from, std::string_view key, bool may_be_empty) {
  std::string text = json::get_string(from, key);
  if (text.empty() && !may_be_empty) throw wrong("\"{}\" is empty, so there is nothing to learn", key);
  return text;
}

Message message_of(const json::object& from) {
  Message message{.role = json::get_string(from, "role"), .content = "", .others = from};
  if (message.role.empty()) throw wrong("its role is empty");
  message.others.stable_erase("role");
  const json::value* calls = from.if_contains("tool_calls");
  if (calls != nullptr && !calls->is_null() && !calls->is_array()) throw wrong("its \"tool_calls\" is no list");
  const bool calls_tools = calls != nullptr && calls->is_array() && !calls->get_array().empty();
  const json::value* content = from.if_contains("content");
  // An answer that calls tools need not say anything.
  if (!calls_tools || (content != nullptr && !content->is_null())) message.content = json::get_string(from, "content");
  if (calls == nullptr) message.others.stable_erase("content");
  return message;
}

Example example_of(const json::object& line) {
  const auto has = [&](std::string_view key) { return line.contains(key); };
  if (has("messages")) {
    Conversation chat{.messages = messages_of(line, "messages"),
                      .tools = tools_of(line),
                      .variables = variables_of(line)};
    const auto answers = [](const Message& message) { return message.role == kAssistant; };
    if (std::none_of(chat.messages.begin(), chat.messages.end(), answers)) {
      throw wrong("none of its messages has the role \"{}\", so there is nothing to learn", kAssistant);
    }
    return chat;
  }
  if (has("prompt") && has("completion")) {
    if (!line.at("prompt").is_array() && !line.at("completion").is_array()) {
      return Completion{text_of(line, "prompt", true), text_of(line, "completion", false)};
    }
    Conversation chat{.messages = messages_of(line, "prompt"),
                      .tools = tools_of(line),
                      .variables = variables_of(line)};
    chat.answers_from = chat.messages.size();
    for (Message& message : messages_of(line, "completion")) chat.messages.push_back(std::move(message));
    if (chat.messages[chat.answers_from].role != kAssistant) {
      throw wrong("\"completion\" begins with the role \"{}\" instead of \"{}\"", chat.messages[chat.answers_from].role,
                  kAssistant);
    }
    return chat;
  }
  if (has("text")) return Text{text_of(line, "text", false)};
  if (has("chosen")) throw wrong("it is a pair of answers to choose from: those are for athanor-llm dpo");
  throw wrong("it has neither \"messages\", nor \"prompt\" and \"completion\", nor \"text\"");
}

}  // namespace

std::vector<Message> messages_of(const json::object& from, std::string_view key) {
  const json::array* list = json::find_array(from, key);
  if (!list) throw wrong("\"{}\" is missing", key);
  if (list->empty()) throw wrong("\"{}\" is an empty list", key);
  std::vector<Message> messages;
  for (const json::value& item : *list) {
    const std::size_t number = messages.size() + 1;
    if (!item.is_object()) {
      throw wrong("message {} of \"{}\" is not an object with \"role\" and \"content\"", number, key);
    }
    try {
      messages.push_back(message_of(item.get_object()));
    } catch (const Error& error) {
      throw wrong("message {} of \"{}\": {}", number, key, error.what());
    }
  }
  return messages;
}

json::value tools_of(const json::object& from) {
  const json::value* given = from.if_contains("tools");
  if (given == nullptr || given->is_null()) return nullptr;
  json::value tools = given->is_string() ? json::parse(std::string_view(given->get_string()), "\"tools\"") : *given;
  const auto is_schema = [](const json::value& tool) { return tool.is_object(); };
  if (!tools.is_array() || !std::all_of(tools.get_array().begin(), tools.get_array().end(), is_schema)) {
    throw wrong("\"tools\" must be a list of JSON schemas, {{\"type\": \"function\", \"function\": {{\"name\": …}}}}");
  }
  return tools;
}

json::object variables_of(const json::object& from) {
  const json::value* given = from.if_contains("chat_template_kwargs");
  if (given == nullptr || given->is_null()) return {};
  if (!given->is_object()) {
    throw wrong("\"chat_template_kwargs\" must be an object: names of variables and their values");
  }
  return given->get_object();
}

Example parse_example(std::string_view line, std::string_view source) {
  const json::value value = json::parse(line, source);
  try {
    if (!value.is_object()) throw wrong("it is JSON, but not an object");
    return example_of(value.get_object());
  } catch (const Error& error) {
    throw wrong("{}: {}", source, error.what());
  }
}

}  // namespace athanor::data
