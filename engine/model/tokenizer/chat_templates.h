// The chat templates of a model, of which each chat takes one: models ship a template, or several by name. As `transformers`
// chooses: "tool_use" for a chat with tools, where there is one of that name, and otherwise the default.
//
// Templates are read when they are first needed, so that one that cannot be read harms no chat that needs another. One thread.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/tokenizer/chat_template.h"

namespace athanor::model {

// Takes the place of the default where a chat has tools.
inline constexpr std::string_view kToolUse = "tool_use";

class ChatTemplates {
 public:
  explicit ChatTemplates(const Tokenizer& tokenizer);

  // The model has none at all.
  bool empty() const { return sources_.empty(); }
  // In order; the default's is "default".
  std::vector<std::string> names() const;

  // For a chat with or without tools. Throws kInvalid: there is none that fits, or it cannot be read; with what to do.
  const ChatTemplate& choose(bool with_tools);

  // A chat by the template that is chosen for it; errors as there, and as ChatTemplate::render(). `options.tools`: null, or a list.
  RenderedChat render(const json::array& messages, const ChatOptions& options);
  // The same as tokens.
  ChatTokens encode(const json::array& messages, const ChatOptions& options);

 private:
  const Tokenizer tokenizer_;
  std::map<std::string, std::string> sources_;
  std::map<std::string, ChatTemplate> read_;
};

}  // namespace athanor::model
