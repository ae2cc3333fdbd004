#include "engine/data/preference.h"

#include <algorithm>
#include <string>
#include <vector>

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
    throw wrong(
        "\"{}\" goes on after the prompt with the role \"{}\" instead of \"assistant\", and what is learnt are "
        "answers: move what "
        "comes before the answer to \"prompt\"",
        key, answer.front().role);
  }
  std::move(answer.begin(), answer.end(), std::back_inserter(chat.messages));
  return chat;
}

Error nothing_preferred() {
  return wrong("\"chosen\" and \"rejected\" are the same, so none is preferred: leave the line out");
}

// What two texts begin with alike, cut as TRL does before a space and never within a character.
std::size_t common_prefix(std::string_view a, std::string_view b) {
  auto size = static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  const auto inside_character = [](std::string_view text, std::size_t at) {
    return at < text.size() && (text[at] & 0xC0) == 0x80;
  };
  while (size > 0 && (inside_character(a, size) || inside_character(b, size))) --size;
  return size > 0 && a[size - 1] == ' ' ? size - 1 : size;
}

Preference texts_of(const json::object& line, bool prompted) {
  std::string prompt, chosen = json::get_string(line, "chosen"), rejected = json::get_string(line, "rejected");
  if (chosen == rejected) throw nothing_preferred();
  if (prompted) {
    prompt = json::get_string(line, "prompt");
  } else {
    const std::size_t common = common_prefix(chosen, rejected);
    prompt = chosen.substr(0, common);
    chosen.erase(0, common);
    rejected.erase(0, common);
  }
  return {Completion{prompt, std::move(chosen)}, Completion{prompt, std::move(rejected)}};
}

Preference chats_of(const json::object& line, bool prompted) {
  std::vector<Message> chosen = messages_of(line, "chosen"), rejected = messages_of(line, "rejected"), prompt;
  if (chosen == rejected) throw nothing_preferred();
  // What the user says is said again only where both begin with it; an answer's beginning may be alike as well.
  const bool alike = chosen.front() == rejected.front() && chosen.front().role != "assistant";
  if (prompted && line.at("prompt").is_string() && !alike) {
    prompt = {{"user", json::get_string(line, "prompt")}};
  } else if (prompted && !line.at("prompt").is_string()) {
    prompt = messages_of(line, "prompt");
  } else {
    const auto differ = std::mismatch(chosen.begin(), chosen.end(), rejected.begin(), rejected.end());
    const auto common = differ.first - chosen.begin();
    if (common == 0) {
      throw wrong(
          "it has no \"prompt\", and \"chosen\" and \"rejected\" begin with different messages: give the messages "
          "before the "
          "answers as \"prompt\", or at the start of both");
    }
    if (differ.first == chosen.end() || differ.second == rejected.end()) {
      throw wrong(
          "one of \"chosen\" and \"rejected\" ends where the other goes on, so it has no answer of its own: give both "
          "an answer, "
          "or leave the line out");
    }
    prompt.assign(chosen.begin(), differ.first);
    chosen.erase(chosen.begin(), chosen.begin() + common);
    rejected.erase(rejected.begin(), rejected.begin() + common);
  }
  Conversation better = joined(prompt, std::move(chosen), "chosen"),
               worse = joined(prompt, std::move(rejected), "rejected");
  better.tools = worse.tools = tools_of(line);
  better.variables = worse.variables = variables_of(line);
  return {std::move(better), std::move(worse)};
}

Preference preference_of(const json::object& line) {
  for (const char* key : {"chosen", "rejected"}) {
    if (!line.contains(key)) {
      throw wrong(
          "\"{}\" is missing: a line of preferences has \"prompt\", \"chosen\" and \"rejected\", texts or lists of "
          "messages",
          key);
    }
  }
  const bool prompted = line.contains("prompt") && !line.at("prompt").is_null();
  const bool texts =
      !line.at("chosen").is_array() && !line.at("rejected").is_array() && !(prompted && line.at("prompt").is_array());
  return texts ? texts_of(line, prompted) : chats_of(line, prompted);
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
