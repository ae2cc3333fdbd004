#include "engine/data/example.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tuple>
#include <vector>

#include "common/error.h"
#include "engine/data/preference.h"

namespace athanor::data {
namespace {

using testing::HasSubstr;

const Message kAsk{"user", "2 + 2?"}, kFour{"assistant", "4"}, kFive{"assistant", "5"}, kSure{"user", "Sure?"};

TEST(Example, IsReadInEveryForm) {
  const std::pair<const char*, Example> cases[] = {
      {R"({"text": "Once", "id": 7})", Text{"Once"}},
      {R"({"prompt": "2 + 2 =", "completion": " 4"})", Completion{"2 + 2 =", " 4"}},
      {R"({"prompt": "", "completion": "4\n"})", Completion{"", "4\n"}},
      {R"({"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4", "weight": 1}]})",
       Conversation{{kAsk, Message{"assistant", "4", {{"weight", 1}}}}, 0}},
      {R"({"prompt": [{"role": "user", "content": "2 + 2?"}], "completion": [{"role": "assistant", "content": "4"}]})",
       Conversation{{kAsk, kFour}, 1}},
      {R"({"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "tool_calls": [{"name": "add"}], "content": null},
          {"role": "tool", "content": "4", "name": "add"}], "tools": [{"name": "add"}], "chat_template_kwargs": {"thinking": true}})",
       Conversation{.messages = {kAsk,
                                 Message{"assistant",
                                         "",
                                         {{"tool_calls", json::array{json::object{{"name", "add"}}}},
                                          {"content", nullptr}}},
                                 Message{"tool", "4", {{"name", "add"}}}},
                    .tools = json::array{json::object{{"name", "add"}}},
                    .variables = {{"thinking", true}}}},
      {R"({"prompt": [{"role": "user", "content": "2 + 2?"}], "completion": [{"role": "assistant", "content": "4"}], "tools": "[{\"name\": \"add\"}]"})",
       Conversation{.messages = {kAsk, kFour}, .answers_from = 1, .tools = json::array{json::object{{"name", "add"}}}}},
  };
  for (const auto& [line, expected] : cases) EXPECT_EQ(parse_example(line, "x"), expected) << line;
}

TEST(Example, IsRefusedWithItsLineAndTheReason) {
  const std::pair<const char*, const char*> cases[] = {
      {"{", "not JSON"},
      {R"({"text": "a"} {"text": "b"})", "not JSON"},
      {"[1]", "not an object"},
      {R"({"content": "a"})", "neither \"messages\", nor \"prompt\" and \"completion\", nor \"text\""},
      {R"({"prompt": "a", "chosen": "b", "rejected": "c"})", "for athanor-llm dpo"},
      {R"({"text": ""})", "\"text\" is empty"},
      {R"({"text": 5})", "'text' must be a string"},
      {R"({"prompt": "a", "completion": ""})", "\"completion\" is empty"},
      {R"({"prompt": "a", "completion": [{"role": "assistant", "content": "b"}]})", "'prompt' must be an array"},
      {R"({"prompt": [{"role": "user", "content": "b"}], "completion": [{"role": "user", "content": "b"}]})",
       "begins with the role \"user\""},
      {R"({"messages": []})", "\"messages\" is an empty list"},
      {R"({"messages": "hello"})", "'messages' must be an array"},
      {R"({"messages": ["hello"]})", "message 1 of \"messages\" is not an object"},
      {R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant"}]})",
       "message 2 of \"messages\": JSON field 'content' is missing"},
      {R"({"messages": [{"role": "", "content": "a"}]})", "message 1 of \"messages\": its role is empty"},
      {R"({"messages": [{"role": "user", "content": [{"type": "text"}]}]})", "'content' must be a string"},
      {R"({"messages": [{"role": "assistant", "tool_calls": []}]})",
       "message 1 of \"messages\": JSON field 'content' is missing"},
      {R"({"messages": [{"role": "assistant", "tool_calls": {}}]})", "its \"tool_calls\" is no list"},
      {R"({"messages": [{"role": "assistant", "content": "a"}], "tools": ["add"]})",
       "\"tools\" must be a list of JSON schemas"},
      {R"({"messages": [{"role": "assistant", "content": "a"}], "tools": "add"})", "not JSON"},
      {R"({"messages": [{"role": "assistant", "content": "a"}], "chat_template_kwargs": 1})",
       "\"chat_template_kwargs\" must be an object"},
      {R"({"messages": [{"role": "user", "content": "a"}]})", "none of its messages has the role \"assistant\""},
  };
  for (const auto& [line, expected] : cases) {
    try {
      parse_example(line, "chats.jsonl, line 17");
      ADD_FAILURE() << line;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
      EXPECT_THAT(error.what(), HasSubstr(expected));
      EXPECT_THAT(error.what(), HasSubstr("chats.jsonl, line 17"));
    }
  }
}

TEST(Preference, ItsAnswersMayCallTools) {
  const Preference pair = parse_preference(
      R"({"prompt": [{"role": "user", "content": "2 + 2?"}], "chosen": [{"role": "assistant", "tool_calls": [{"name": "add"}]}],
          "rejected": [{"role": "assistant", "tool_calls": [{"name": "sub"}]}], "tools": [{"name": "add"}]})",
      "x");
  for (const Example& example : {pair.chosen, pair.rejected}) {
    EXPECT_EQ(std::get<Conversation>(example).tools, json::value(json::array{json::object{{"name", "add"}}}));
  }
}

TEST(Preference, IsReadInEveryForm) {
  const auto pair = [](std::string_view line) { return parse_preference(line, "x"); };
  const Preference texts = pair(R"({"prompt": "2 + 2 =", "chosen": " 4", "rejected": " 5"})");
  EXPECT_EQ(texts.chosen, Example(Completion{"2 + 2 =", " 4"}));
  EXPECT_EQ(texts.rejected, Example(Completion{"2 + 2 =", " 5"}));
  for (const char* line :
       {R"({"prompt": [{"role": "user", "content": "2 + 2?"}], "chosen": [{"role": "assistant", "content": "4"}],
            "rejected": [{"role": "assistant", "content": "5"}]})",
        R"({"chosen": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}],
            "rejected": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "5"}]})"}) {
    EXPECT_EQ(pair(line).chosen, Example(Conversation{{kAsk, kFour}, 1}));
    EXPECT_EQ(pair(line).rejected, Example(Conversation{{kAsk, kFive}, 1}));
  }
  // What the user says as a text; or said again, as in datasets that have both.
  for (
      const char* line :
      {R"({"prompt": "2 + 2?", "chosen": [{"role": "assistant", "content": "4"}], "rejected": [{"role": "assistant", "content": "5"}]})",
       R"({"prompt": "2 + 2?", "chosen": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}],
            "rejected": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "5"}]})"}) {
    EXPECT_EQ(pair(line).chosen, Example(Conversation{{kAsk, kFour}, 1}));
    EXPECT_EQ(pair(line).rejected, Example(Conversation{{kAsk, kFive}, 1}));
  }
  // Answers of several messages that begin alike.
  const Preference begun = pair(
      R"({"prompt": "2 + 2?", "chosen": [{"role": "assistant", "content": "5"}, {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "4"}],
          "rejected": [{"role": "assistant", "content": "5"}, {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "5"}]})");
  EXPECT_EQ(begun.chosen, Example(Conversation{{kAsk, kFive, kSure, kFour}, 1}));
  EXPECT_EQ(begun.rejected, Example(Conversation{{kAsk, kFive, kSure, kFive}, 1}));
  // Texts without a prompt: what both begin with, to before a space, and in whole characters.
  for (const auto& [chosen, rejected, prompt] :
       std::vector<std::tuple<const char*, const char*, const char*>>{{"The sky is blue.", "The sky is green.",
                                                                       "The sky is"},
                                                                      {"caf\u00e9", "caf\u00e8", "caf"},
                                                                      {"yes", "no", ""},
                                                                      {"ab", "abc", "ab"}}) {
    const Preference made =
        pair(fmt::format(R"({{"chosen": "{}", "rejected": "{}", "prompt": null}})", chosen, rejected));
    EXPECT_EQ(std::get<Completion>(made.chosen).prompt, prompt);
    EXPECT_EQ(std::get<Completion>(made.rejected).prompt, prompt);
    EXPECT_EQ(std::get<Completion>(made.chosen).completion,
              json::parse(fmt::format("\"{}\"", chosen), "x").as_string().subview(std::string(prompt).size()));
  }
  // Answers that both have said before are read, not learnt.
  const Preference later = pair(
      R"({"chosen": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "5"}, {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "4"}],
          "rejected": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "5"}, {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "5"}]})");
  EXPECT_EQ(later.chosen, Example(Conversation{{kAsk, kFive, kSure, kFour}, 3}));
}

TEST(Preference, IsRefusedWithItsLineAndTheReason) {
  const std::pair<const char*, const char*> cases[] = {
      {"nothing", "not JSON"},
      {"7", "not an object"},
      {R"({"prompt": "a", "chosen": "b"})", "\"rejected\" is missing: a line of preferences has"},
      {R"({"prompt": "a", "rejected": "b"})", "\"chosen\" is missing"},
      {R"({"prompt": "a", "chosen": "b", "rejected": "b"})", "the same"},
      {R"({"prompt": "a", "chosen": [{"role": "assistant", "content": "b"}], "rejected": "c"})",
       "'rejected' must be an array"},
      {R"({"prompt": 7, "chosen": "b", "rejected": "c"})", "'prompt' must be a string"},
      {R"({"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "user", "content": "b"}]})",
       "begin with different messages"},
      {R"({"chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})",
       "no answer of its own"},
      {R"({"prompt": [{"role": "user", "content": "a"}], "chosen": [{"role": "user", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]})",
       "\"chosen\" goes on after the prompt with the role \"user\""},
  };
  for (const auto& [line, expected] : cases) {
    try {
      parse_preference(line, "pairs.jsonl, line 3");
      ADD_FAILURE() << line;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
      EXPECT_THAT(error.what(), HasSubstr(expected));
      EXPECT_THAT(error.what(), HasSubstr("pairs.jsonl, line 3"));
    }
  }
}

}  // namespace
}  // namespace athanor::data
