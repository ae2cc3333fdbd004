#include "engine/data/preference.h"

#include <algorithm>

#include "common/error.h"
#include "engine/data/example.h"

namespace athanor::data {

namespace {

template <typename... Args>
Error wrong(fmt::format_string<Args...> format, Args&&... args) {
  return Error(ErrorKind::kInvalid, format, std::forward<Args>(args)...);
}

Conversation joined(std::vector<Message> prompt, std::vector<Message> answer, std::string_view key) {
  Conversation chat{.messages = std::move(prompt)};
  chat.answers_from = chat.messages.size();
  if (answer.front().role != "assistant") {
    throw wrong("\"{}\" goes on after the prompt with the role \"{}\" instead of \"assistant\"", key, answer.front().role);
  }
  std::move(answer.begin(), answer.end(), std::back_inserter(chat.messages));
  return chat;
}

Preference preference_of(const json::object& line) {
  for (const char* key : {"chosen", "rejected"}) {
    if (!line.contains(key)) throw wrong("\"{}\" is missing", key);
  }
  const bool prompted = line.contains("prompt");
  if (!line.at("chosen").is_array() && !line.at("rejected").is_array() && prompted && !line.at("prompt").is_array()) {
    const auto text = [&](std::string_view key) { return Completion{json::get_string(line, "prompt"), json::get_string(line, key)}; };
    const Preference pair{text("chosen"), text("rejected")};
    if (pair.chosen == pair.rejected) throw wrong("\"chosen\" and \"rejected\" are the same, so none is preferred");
    return pair;
  }
  std::vector<Message> chosen = messages_of(line, "chosen"), rejected = messages_of(line, "rejected"), prompt;
  if (chosen == rejected) throw wrong("\"chosen\" and \"rejected\" are the same, so none is preferred");
  if (prompted) {
    prompt = messages_of(line, "prompt");
  } else {
    const auto differ = std::mismatch(chosen.begin(), chosen.end(), rejected.begin(), rejected.end());
    const auto common = differ.first - chosen.begin();
    if (common == 0) throw wrong("it has no \"prompt\", and \"chosen\" and \"rejected\" begin with different messages");
    if (differ.first == chosen.end() || differ.second == rejected.end()) {
      throw wrong("one of \"chosen\" and \"rejected\" ends where the other goes on, so it has no answer of its own");
    }
    prompt.assign(chosen.begin(), differ.first);
    chosen.erase(chosen.begin(), chosen.begin() + common);
    rejected.erase(rejected.begin(), rejected.begin() + common);
  }
  Conversation better = joined(prompt, std::move(chosen), "chosen"), worse = joined(prompt, std::move(rejected), "rejected");
  better.tools = worse.tools = tools_of(line);
  better.variables = worse.variables = variables_of(line);
  return {std::move(better), std::move(worse)};
}

}  // namespace

Preference parse_preference(std::string_view line, std::string_view source) {
  const json::value value = json::parse(line, source);
  try {
    if (!value.is_object()) throw wrong("it is JSON, but not an object");
    return preference_of(value.get_object());
  } catch (const Error& error) {
    throw wrong("{}: {}", source, error.what());
  }
}

}  // namespace athanor::data
