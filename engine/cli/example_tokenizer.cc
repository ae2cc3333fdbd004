#include "engine/cli/example_tokenizer.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "common/error.h"
#include "common/json.h"

namespace athanor::llm {

using data::TokenRun;
using model::TokenId;

namespace {

constexpr std::string_view kAssistant = "assistant";

// Everything that the message has, as the template reads it.
json::object message_json(const data::Message& message) {
  json::object made{{"role", message.role}};
  if (!message.others.contains("tool_calls")) made["content"] = message.content;
  made.insert(message.others.begin(), message.others.end());
  return made;
}

}  // namespace

TemplateTokenizer::TemplateTokenizer(const model::Tokenizer& tokenizer, std::time_t now)
    : tokenizer_(tokenizer),
      encoder_(tokenizer_),
      templates_(tokenizer),
      options_(model::chat_options(tokenizer, now)) {
  if (!tokenizer.parts().chat_template.empty()) (void)templates_.choose(false);
  const auto eos = tokenizer.eos(), end = eos ? eos : tokenizer.end_of_text();
  if (!end) {
    throw Error(
        ErrorKind::kInvalid,
        "The model's tokenizer has no token that ends a text: name one as \"eos_token\" in its tokenizer_config.json");
  }
  end_ = *end;
}

std::vector<TokenRun> TemplateTokenizer::tokens(const data::Conversation& conversation) {
  json::array messages;
  std::size_t answers = 0, learnt = 0;
  for (std::size_t i = 0; i < conversation.messages.size(); ++i) {
    const data::Message& message = conversation.messages[i];
    messages.push_back(message_json(message));
    if (message.role != kAssistant) continue;
    ++answers;
    learnt += i >= conversation.answers_from;
  }
  model::ChatOptions options = options_;
  options.tools = conversation.tools;
  options.variables = conversation.variables;
  model::RenderedChat chat = templates_.render(messages, options);
  if (chat.answers.empty()) {
    throw Error(ErrorKind::kInvalid, "of its {} answers the model's chat template writes none", answers);
  }
  // Those that are only read come first, and a template may have left some of them out.
  if (chat.answers.size() > learnt) {
    chat.answers.erase(chat.answers.begin(), chat.answers.end() - static_cast<std::ptrdiff_t>(learnt));
  }
  const model::ChatTokens tokens = model::encode_chat(tokenizer_, chat);
  std::vector<TokenRun> runs;
  for (std::size_t i = 0; i < tokens.ids.size(); ++i) {
    if (runs.empty() || runs.back().in_loss != (tokens.answer[i] != 0)) {
      runs.push_back({.tokens = {}, .in_loss = tokens.answer[i] != 0});
    }
    runs.back().tokens.push_back(tokens.ids[i]);
  }
  return runs;
}

std::vector<TokenRun> TemplateTokenizer::tokens(const data::Completion& completion) {
  TokenRun prompt{.tokens = before(), .in_loss = false}, answer{.tokens = {}, .in_loss = true};
  encoder_.encode(completion.prompt, prompt.tokens);
  encoder_.encode(completion.completion, answer.tokens, {.continues = !completion.prompt.empty()});
  answer.tokens.push_back(end_);
  return {std::move(prompt), std::move(answer)};
}

std::vector<TokenRun> TemplateTokenizer::tokens(const data::Text& text) {
  TokenRun run{.tokens = before(), .in_loss = true};
  encoder_.encode(text.text, run.tokens);
  run.tokens.push_back(end_);
  return {std::move(run)};
}

std::vector<TokenId> prompt_tokens(const model::Tokenizer& tokenizer, std::string_view prompt) {
  model::ChatTemplates templates(tokenizer);
  if (templates.empty()) {
    std::vector<TokenId> ids = tokenizer.parts().before;
    model::Encoder(tokenizer).encode(prompt, ids);
    return ids;
  }
  model::ChatOptions options = model::chat_options(tokenizer, model::local_time(std::time(nullptr)));
  options.add_generation_prompt = true;
  return templates.encode({json::object{{"role", "user"}, {"content", prompt}}}, options).ids;
}

}  // namespace athanor::llm
