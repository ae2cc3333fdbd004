// How a model's tokenizer and its chat template lay out what fine-tuning learns from (data/conversation.h). One thread.
#pragma once

#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "engine/data/conversation.h"
#include "engine/model/tokenizer/chat_templates.h"
#include "engine/model/tokenizer/tokenizer.h"

namespace athanor::llm {

class TemplateTokenizer final : public data::ExampleTokenizer {
 public:
  // A tokenizer without a chat template will do for texts and completions. Throws kInvalid for a default template that cannot
  // be read, and for a tokenizer that has no token to end a text with. `now`: the time that templates write into chats, as
  // model::ChatOptions has it.
  TemplateTokenizer(const model::Tokenizer& tokenizer, std::time_t now);

  // As the template writes them, which may be another for chats with tools. Learnt are the answers from `answers_from` on, each with the token that ends it. Throws
  // kInvalid when there is no template, when it refuses the conversation, and when it writes none of the answers.
  std::vector<data::TokenRun> tokens(const data::Conversation& conversation) override;
  // before() PROMPT, and then, learnt, COMPLETION end().
  std::vector<data::TokenRun> tokens(const data::Completion& completion) override;
  // before() TEXT end(), all learnt.
  std::vector<data::TokenRun> tokens(const data::Text& text) override;

  // What the checkpoint wants before a text; may be empty.
  const std::vector<model::TokenId>& before() const { return tokenizer_.parts().before; }
  // What ends a text: the checkpoint's EOS, so that generation stops there.
  model::TokenId end() const { return end_; }

 private:
  const model::Tokenizer tokenizer_;
  model::Encoder encoder_;
  model::ChatTemplates templates_;
  const model::ChatOptions options_;
  model::TokenId end_ = 0;
};

// A user's message as the template writes it, up to where the answer begins; the text alone without a template.
std::vector<model::TokenId> prompt_tokens(const model::Tokenizer& tokenizer, std::string_view prompt);

}  // namespace athanor::llm
