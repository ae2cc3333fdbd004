#include "engine/cli/example_tokenizer.h"

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "common/json.h"

namespace athanor::llm {

using data::TokenRun;
using model::TokenId;

namespace {

constexpr std::string_view kAssistant = "assistant";

json::object message_json(std::string_view role, std::string_view content) { return {{"role", role}, {"content", content}}; }

model::ChatTemplate template_of(const model::Tokenizer& tokenizer) {
  try {
    return model::ChatTemplate(tokenizer.parts().chat_template);
  } catch (const Error& error) {
    throw Error(error.kind(), "The model's chat template cannot be used: {}. Give another with --chat-template FILE", error.what());
  }
}

}  // namespace

TemplateTokenizer::TemplateTokenizer(const model::Tokenizer& tokenizer)
    : tokenizer_(tokenizer), encoder_(tokenizer_), options_(model::chat_options(tokenizer)) {
  if (!tokenizer.parts().chat_template.empty()) template_.emplace(template_of(tokenizer));
  const auto eos = tokenizer.eos(), end = eos ? eos : tokenizer.end_of_text();
  if (!end) {
    throw Error(ErrorKind::kInvalid,
                "The model's tokenizer has no token that ends a text: name one as \"eos_token\" in its tokenizer_config.json");
  }
  end_ = *end;
}

std::vector<TokenRun> TemplateTokenizer::tokens(const data::Conversation& conversation) {
  if (!template_) {
    throw Error(ErrorKind::kInvalid,
                "the model has no chat template, which would lay out its messages: give one with --chat-template FILE, or as "
                "chat_template.jinja beside the tokenizer");
  }
  json::array messages;
  std::size_t answers = 0, learnt = 0;
  for (std::size_t i = 0; i < conversation.messages.size(); ++i) {
    const data::Message& message = conversation.messages[i];
    messages.push_back(message_json(message.role, message.content));
    if (message.role != kAssistant) continue;
    ++answers;
    learnt += i >= conversation.answers_from;
  }
  model::RenderedChat chat = template_->render(messages, options_);
  if (chat.answers.empty()) {
    throw Error(ErrorKind::kInvalid, "of its {} answers the model's chat template writes none", answers);
  }
  // Those that are only read come first, and a template may have left some of them out.
  if (chat.answers.size() > learnt) chat.answers.erase(chat.answers.begin(), chat.answers.end() - static_cast<std::ptrdiff_t>(learnt));
  const model::ChatTokens tokens = model::encode_chat(tokenizer_, chat);
  std::vector<TokenRun> runs;
  for (std::size_t i = 0; i < tokens.ids.size(); ++i) {
    if (runs.empty() || runs.back().in_loss != (tokens.answer[i] != 0)) runs.push_back({.tokens = {}, .in_loss = tokens.answer[i] != 0});
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

model::Tokenizer with_chat_template(const model::Tokenizer& tokenizer, std::string chat_template) {
  model::TokenizerParts parts = tokenizer.parts();
  if (!parts.files.empty()) parts.files["chat_template.jinja"] = chat_template;
  parts.chat_template = std::move(chat_template);
  return model::Tokenizer(std::move(parts));
}

std::vector<TokenId> prompt_tokens(const model::Tokenizer& tokenizer, std::string_view prompt) {
  if (tokenizer.parts().chat_template.empty()) {
    std::vector<TokenId> ids = tokenizer.parts().before;
    model::Encoder(tokenizer).encode(prompt, ids);
    return ids;
  }
  model::ChatOptions options = model::chat_options(tokenizer);
  options.add_generation_prompt = true;
  return model::encode_chat(tokenizer, template_of(tokenizer).render({message_json("user", prompt)}, options)).ids;
}

}  // namespace athanor::llm
