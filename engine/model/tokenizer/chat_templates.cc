#include "engine/model/tokenizer/chat_templates.h"

#include <fmt/ranges.h>

#include "common/error.h"

namespace athanor::model {

namespace {

constexpr const char* kDefault = "default";

}  // namespace

ChatTemplates::ChatTemplates(const Tokenizer& tokenizer)
    : tokenizer_(tokenizer), sources_(tokenizer.parts().named_templates) {
  if (!tokenizer.parts().chat_template.empty()) sources_[kDefault] = tokenizer.parts().chat_template;
}

std::vector<std::string> ChatTemplates::names() const {
  std::vector<std::string> names;
  for (const auto& source : sources_) names.push_back(source.first);
  return names;
}

const ChatTemplate& ChatTemplates::choose(bool with_tools) {
  if (empty()) {
    throw Error(ErrorKind::kInvalid,
                "the model has no chat template, which would lay out its messages: give one with --chat-template FILE, "
                "or as chat_template.jinja beside the tokenizer");
  }
  const std::string name = with_tools && sources_.count(std::string(kToolUse)) != 0 ? std::string(kToolUse) : kDefault;
  const auto source = sources_.find(name);
  if (source == sources_.end()) {
    throw Error(
        ErrorKind::kInvalid,
        "the model has chat templates by name ({}) and none that is the default: put one as chat_template.jinja "
        "beside the tokenizer, or, in fine-tuning, give one with --chat-template FILE",
        fmt::join(names(), ", "));
  }
  const auto known = read_.find(name);
  if (known != read_.end()) return known->second;
  try {
    return read_.emplace(name, ChatTemplate(source->second)).first->second;
  } catch (const Error& error) {
    throw Error(error.kind(),
                "the model's chat template{} cannot be used: {}. Put another as chat_template.jinja beside the "
                "tokenizer, or, in "
                "fine-tuning, give one with --chat-template FILE",
                name == kDefault ? "" : " \"" + name + "\"", error.what());
  }
}

RenderedChat ChatTemplates::render(const json::array& messages, const ChatOptions& options) {
  if (!options.tools.is_null() && !options.tools.is_array()) {
    throw Error(ErrorKind::kInvalid, "a chat's \"tools\" must be a list of JSON schemas");
  }
  return choose(options.tools.is_array()).render(messages, options);
}

ChatTokens ChatTemplates::encode(const json::array& messages, const ChatOptions& options) {
  return encode_chat(tokenizer_, render(messages, options));
}

}  // namespace athanor::model
