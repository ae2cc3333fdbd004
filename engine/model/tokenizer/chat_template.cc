#include "engine/model/tokenizer/chat_template.h"

#include <algorithm>
#include <optional>

#include "common/error.h"
#include "engine/model/tokenizer/jinja/interpreter.h"

namespace athanor::model {

namespace {

using jinja::Origin;
using jinja::Rendered;

// What is sought of one message in a rendered chat: [begin, end) from its first byte to its last.
struct Place {
  std::size_t begin = 0, end = 0;
};

std::optional<Place> place_of(const jinja::Text& text, Origin origin) {
  const auto first = std::find(text.origins.begin(), text.origins.end(), origin);
  if (first == text.origins.end()) return std::nullopt;
  const auto last = std::find(text.origins.rbegin(), text.origins.rend(), origin);
  return Place{static_cast<std::size_t>(first - text.origins.begin()),
               static_cast<std::size_t>(text.origins.rend() - last)};
}

// Of messages 0 to count - 1, in one go.
std::vector<std::optional<Place>> places_of(const jinja::Text& text, std::size_t count) {
  std::vector<std::optional<Place>> places(count);
  for (std::size_t i = 0; i < text.origins.size(); ++i) {
    if (text.origins[i] == 0) continue;
    std::optional<Place>& place = places[static_cast<std::size_t>(text.origins[i]) - 1];
    if (!place) place = Place{i, i};
    place->end = i + 1;
  }
  return places;
}

std::size_t without_space(std::string_view text, std::size_t end, std::size_t least) {
  while (end > least && (text[end - 1] == ' ' || (text[end - 1] >= '\t' && text[end - 1] <= '\r'))) --end;
  return end;
}

}  // namespace

struct ChatTemplate::Parsed {
  jinja::Body body;

  Rendered render(const json::array& messages, std::size_t count, bool prompt, const ChatOptions& options) const {
    jinja::List list;
    for (std::size_t i = 0; i < count; ++i) list.push_back(jinja::from_json(messages[i], static_cast<Origin>(i + 1)));
    jinja::Dict variables{{"messages", std::move(list)},
                          {"tools", jinja::from_json(options.tools)},
                          {"documents", jinja::None{}},
                          {"add_generation_prompt", prompt}};
    for (const auto& [name, token] : options.tokens) variables.emplace_back(name, token);
    for (const auto& variable : options.variables) {
      std::erase_if(variables, [&](const auto& known) { return known.first == std::string_view(variable.key()); });
      variables.emplace_back(std::string(variable.key()), jinja::from_json(variable.value()));
    }
    return jinja::render(body, variables, options.now);
  }

  // A part of the conversation, which the template may refuse to write.
  std::optional<Rendered> try_render(const json::array& messages, std::size_t count, bool prompt,
                                     const ChatOptions& options) const {
    try {
      return render(messages, count, prompt, options);
    } catch (const Error&) {
      return std::nullopt;
    }
  }

  // Where message `i`, whose first byte stands at `latest`, begins as an answer: where a prompt made of the messages before
  // it would end. In turn:
  // 1. The words that lead to an answer, `known_lead`, stand right before it, as they did before an earlier one. This alone
  //    spares the rendering of all messages before every answer, which takes the square of the chat's length.
  // 2. The text begins with that prompt.
  // 3. The template writes earlier messages otherwise when others follow: then by the words that lead to an answer, after
  //    what was written before.
  // 4. With its first byte.
  std::size_t begin_of(const json::array& messages, std::size_t i, const jinja::Text& text, std::size_t latest,
                       std::size_t after, std::string& known_lead, const ChatOptions& options) const {
    if (!known_lead.empty() && stands_before(text, latest, known_lead)) return latest;
    const auto prompt = try_render(messages, i, true, options);
    const bool begins = prompt && prompt->text.bytes.size() <= latest && text.bytes.starts_with(prompt->text.bytes);
    if (begins && (prompt->text.bytes.size() < latest || !known_lead.empty())) return prompt->text.bytes.size();
    const auto before = try_render(messages, i, false, options);
    if (prompt && before && prompt->text.bytes.starts_with(before->text.bytes)) {
      std::string lead = prompt->text.bytes.substr(before->text.bytes.size());
      if (begins) {
        known_lead = std::move(lead);
        return latest;
      }
      const std::size_t found =
          lead.empty() || latest < lead.size() ? std::string::npos : text.bytes.rfind(lead, latest - lead.size());
      if (found != std::string::npos && found >= after) return found + lead.size();
    }
    return latest;
  }

  // The template itself, and no message, wrote `lead` up to `end`.
  static bool stands_before(const jinja::Text& text, std::size_t end, const std::string& lead) {
    if (lead.size() > end || text.bytes.compare(end - lead.size(), lead.size(), lead) != 0) return false;
    const auto last = text.origins.begin() + static_cast<std::ptrdiff_t>(end);
    return std::all_of(last - static_cast<std::ptrdiff_t>(lead.size()), last,
                       [](Origin origin) { return origin == 0; });
  }

  std::size_t end_of(const json::array& messages, std::size_t i, const jinja::Text& text, std::size_t last,
                     const ChatOptions& options) const {
    const std::string_view rest = std::string_view(text.bytes).substr(last);
    const std::size_t begin = std::min(rest.find_first_not_of(" \n"), rest.size());
    std::size_t longest = 0;
    for (const std::string& special : options.specials) {
      if (!special.empty() && rest.substr(begin).starts_with(special)) longest = std::max(longest, special.size());
    }
    if (longest > 0) return last + begin + longest;
    // No token ends it right there: what the template writes after it when nothing follows.
    const auto alone = try_render(messages, i + 1, false, options);
    const auto place = alone ? place_of(alone->text, static_cast<Origin>(i + 1)) : std::nullopt;
    if (!place) return last;
    const std::string_view tail =
        std::string_view(alone->text.bytes)
            .substr(place->end, without_space(alone->text.bytes, alone->text.bytes.size(), place->end) - place->end);
    return rest.starts_with(tail) ? last + tail.size() : last;
  }
};

std::time_t local_time(std::time_t seconds) {
  std::tm local{};
  localtime_r(&seconds, &local);
  return seconds + local.tm_gmtoff;
}

ChatOptions chat_options(const Tokenizer& tokenizer, std::time_t now) {
  ChatOptions options;
  options.now = now;
  if (!tokenizer.parts().bos.empty()) options.tokens["bos_token"] = tokenizer.parts().bos;
  if (!tokenizer.parts().eos.empty()) options.tokens["eos_token"] = tokenizer.parts().eos;
  for (const auto& [name, content] : tokenizer.parts().named_tokens) options.tokens[name] = content;
  for (const AddedToken& token : tokenizer.added()) {
    if (token.special) options.specials.push_back(token.content);
  }
  return options;
}

ChatTemplate::ChatTemplate(std::string_view source)
    : parsed_(std::make_unique<const Parsed>(Parsed{jinja::parse_template(source)})) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;

RenderedChat ChatTemplate::render(const json::array& messages, const ChatOptions& options) const {
  for (const json::value& message : messages) {
    if (!message.is_object()) {
      throw Error(ErrorKind::kInvalid, "A chat has a message that is no object: {}", json::serialize(message));
    }
  }
  Rendered whole = parsed_->render(messages, messages.size(), options.add_generation_prompt, options);
  RenderedChat chat;
  if (!whole.generated.empty()) {
    for (const auto& [begin, end] : whole.generated) chat.answers.push_back({"assistant", begin, end});
    chat.text = std::move(whole.text.bytes);
    return chat;
  }
  const std::vector<std::optional<Place>> places = places_of(whole.text, messages.size());
  std::size_t after = 0;
  std::string lead;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::optional<Place>& place = places[i];
    const json::value* role = messages[i].get_object().if_contains("role");
    if (role != nullptr && role->is_string() && role->get_string() == "assistant" && place) {
      const std::size_t begin = parsed_->begin_of(messages, i, whole.text, place->begin, after, lead, options);
      after = parsed_->end_of(messages, i, whole.text, place->end, options);
      chat.answers.push_back({"assistant", begin, after});
    } else if (place) {
      after = place->end;
    }
  }
  chat.text = std::move(whole.text.bytes);
  return chat;
}

ChatTokens encode_chat(const Tokenizer& tokenizer, const RenderedChat& chat) {
  ChatTokens tokens;
  Encoder encoder(tokenizer);
  std::size_t done = 0;
  const auto encode = [&](std::size_t end, bool answer) {
    if (end <= done) return;
    encoder.encode(std::string_view(chat.text).substr(done, end - done), tokens.ids, {.continues = done > 0});
    tokens.answer.resize(tokens.ids.size(), answer ? 1 : 0);
    done = end;
  };
  for (const ChatSpan& answer : chat.answers) {
    encode(answer.begin, false);
    encode(answer.end, true);
  }
  encode(chat.text.size(), false);
  return tokens;
}

}  // namespace athanor::model
