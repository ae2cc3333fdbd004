#include "engine/cli/example_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "common/temporary_folder.h"
#include "engine/cli/test_support.h"
#include "engine/data/example.h"
#include "engine/model/tokenizer/tokenizer_files.h"

namespace athanor::llm {
namespace {

using data::Conversation;
using data::Message;
using data::TokenRun;
using testing::HasSubstr;

// What is learnt, in brackets.
std::string shown(const std::vector<TokenRun>& runs, const model::Tokenizer& tokenizer) {
  std::string text;
  for (const TokenRun& run : runs) {
    const std::string part = tokenizer.decode(run.tokens, true);
    text += run.in_loss ? "[" + part + "]" : part;
  }
  return text;
}

const std::vector<Message> kChat{{"system", "Be brief."},
                                 {"user", "One?"},
                                 {"assistant", "the light"},
                                 {"user", "Two?"},
                                 {"assistant", "waters"}};

TEST(TemplateTokenizer, TheLossIsOnTheAnswersAndWhatEndsThem) {
  const model::Tokenizer tokenizer = chat_tokenizer();
  TemplateTokenizer examples(tokenizer, 0);
  EXPECT_EQ(shown(examples.tokens(Conversation{.messages = kChat}), tokenizer),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n[the "
            "light<|im_end|>]\n"
            "<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n[waters<|im_end|>]\n");
}

TEST(TemplateTokenizer, AnswersOfThePromptAreOnlyRead) {
  const model::Tokenizer tokenizer = chat_tokenizer();
  TemplateTokenizer examples(tokenizer, 0);
  EXPECT_EQ(shown(examples.tokens(Conversation{.messages = kChat, .answers_from = 3}), tokenizer),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\nthe "
            "light<|im_end|>\n"
            "<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n[waters<|im_end|>]\n");
}

TEST(TemplateTokenizer, PlainTextsEndAsGenerationDoes) {
  const model::Tokenizer tokenizer = chat_tokenizer();
  TemplateTokenizer examples(tokenizer, 0);
  EXPECT_EQ(shown(examples.tokens(data::Completion{"the light", " was waters"}), tokenizer),
            "the light[ was waters<|im_end|>]");
  EXPECT_EQ(shown(examples.tokens(data::Completion{"", "waters"}), tokenizer), "[waters<|im_end|>]");
  EXPECT_EQ(shown(examples.tokens(data::Text{"waters"}), tokenizer), "[waters<|im_end|>]");
}

std::string refusal(const model::Tokenizer& tokenizer) {
  try {
    TemplateTokenizer(tokenizer, 0).tokens(Conversation{.messages = kChat});
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
    return error.what();
  }
  ADD_FAILURE() << "not refused";
  return {};
}

TEST(TemplateTokenizer, WhatCannotBeLaidOutIsRefused) {
  EXPECT_THAT(refusal(model::with_chat_template(chat_tokenizer(), "")),
              HasSubstr("has no chat template, which would lay out its messages: give one with --chat-template"));
  EXPECT_THAT(refusal(model::with_chat_template(chat_tokenizer(), "{% for %}")), HasSubstr("cannot be used"));
  EXPECT_THAT(refusal(model::with_chat_template(chat_tokenizer(), "{{ messages[0].content }}")),
              HasSubstr("of its 2 answers the model's chat template writes none"));
  EXPECT_THAT(refusal(model::with_chat_template(chat_tokenizer(), "{{ raise_exception('no system, please') }}")),
              HasSubstr("no system, please"));
}

TEST(TemplateTokenizer, AnotherTemplateStaysWithTheTokenizer) {
  // One that was read from files keeps them and gains a file.
  const model::Tokenizer read = model::tokenizer_from_files(model::tokenizer_files(chat_tokenizer(), 64), "here");
  const model::Tokenizer other = model::with_chat_template(read, "{{ messages[0].content }}");
  const model::TokenizerFiles before = model::tokenizer_files(read, 64), after = model::tokenizer_files(other, 64);
  EXPECT_EQ(after.at("chat_template.jinja"), "{{ messages[0].content }}");
  for (const auto& [name, contents] : before) EXPECT_EQ(after.at(name), contents);
  EXPECT_EQ(model::tokenizer_from_files(after, "there").parts().chat_template, "{{ messages[0].content }}");
}

// A template of its own for chats with tools, which writes what is called and by which schemas.
constexpr const char* kToolTemplate =
    "{{ tools | tojson }}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.tool_calls %}{{ "
    "m.tool_calls | tojson }}"
    "{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}{{ effort }}";

TEST(TemplateTokenizer, ChatsWithToolsGoByTheirOwnTemplate) {
  model::TokenizerParts parts = chat_tokenizer().parts();
  parts.named_templates["tool_use"] = kToolTemplate;
  const model::Tokenizer tokenizer(std::move(parts));
  TemplateTokenizer examples(tokenizer, 0);
  const auto chat = std::get<Conversation>(data::parse_example(
      R"({"tools": [{"name": "now"}], "chat_template_kwargs": {"effort": 3}, "messages": [{"role": "user", "content": "the light?"},
          {"role": "assistant", "content": null, "tool_calls": [{"name": "now", "arguments": {"z": 1, "a": [null]}}]},
          {"role": "tool", "name": "now", "content": "waters"}, {"role": "assistant", "content": "was"}]})",
      "here"));
  EXPECT_EQ(shown(examples.tokens(chat), tokenizer),
            "[{\"name\": \"now\"}]<|im_start|>user\nthe light?<|im_end|>\n<|im_start|>assistant\n"
            "[[{\"name\": \"now\", \"arguments\": {\"z\": 1, \"a\": "
            "[null]}}]<|im_end|>]\n<|im_start|>tool\nwaters<|im_end|>\n"
            "<|im_start|>assistant\n[was<|im_end|>]\n3");
  // Without tools by the default, from the same tokenizer.
  EXPECT_EQ(shown(examples.tokens(Conversation{.messages = {{"user", "the"}, {"assistant", "light"}}}), tokenizer),
            "<|im_start|>user\nthe<|im_end|>\n<|im_start|>assistant\n[light<|im_end|>]\n");
}

TEST(PromptTokens, AreAUsersMessageUpToTheAnswer) {
  const model::Tokenizer tokenizer = chat_tokenizer(), bare = model::with_chat_template(tokenizer, "");
  EXPECT_EQ(tokenizer.decode(prompt_tokens(tokenizer, "the light?"), true),
            "<|im_start|>user\nthe light?<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(bare.decode(prompt_tokens(bare, "the light?"), true), "the light?");
}

}  // namespace
}  // namespace athanor::llm
