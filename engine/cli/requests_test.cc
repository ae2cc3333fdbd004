#include "engine/cli/requests.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "common/temporary_folder.h"
#include "engine/cli/test_support.h"

namespace athanor::llm {
namespace {

using testing::HasSubstr;

// ChatML, and for chats with tools a template that tells them.
model::Tokenizer tool_tokenizer() {
  model::TokenizerParts parts = chat_tokenizer().parts();
  parts.named_templates["tool_use"] =
      "{{ tools | tojson }}{{ messages[-1].content }}{{ effort }}{{ add_generation_prompt }}";
  return model::Tokenizer(std::move(parts));
}

std::vector<Request> requests_of_file(std::string_view lines) {
  SystemFiles files;
  TemporaryFolder folder;
  files.replace(folder / "prompts.jsonl", lines);
  return requests_of(files, {.prompts = {}, .file = folder / "prompts.jsonl", .chat = false, .system = ""},
                     tool_tokenizer());
}

TEST(Requests, ChatsWithToolsGoByTheirOwnTemplate) {
  const auto requests = requests_of_file(
      "{\"messages\": [{\"role\": \"user\", \"content\": \"the light?\"}], \"tools\": [{\"name\": \"now\"}], "
      "\"chat_template_kwargs\": {\"effort\": 3}}\n"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"the light?\"}]}\n"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"waters\"}], \"tools\": \"[{\\\"name\\\": "
      "\\\"now\\\"}]\"}\n");
  ASSERT_EQ(requests.size(), 3u);
  const model::Tokenizer tokenizer = tool_tokenizer();
  EXPECT_EQ(tokenizer.decode(requests[0].tokens, true), "[{\"name\": \"now\"}]the light?3True");
  EXPECT_EQ(tokenizer.decode(requests[1].tokens, true),
            "<|im_start|>user\nthe light?<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(tokenizer.decode(requests[2].tokens, true), "[{\"name\": \"now\"}]watersTrue")
      << "variables are of one chat alone";
}

TEST(Requests, ToolsThatAreNoneAreRefusedWithTheLine) {
  for (const char* line : {"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"tools\": {}}",
                           "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"tools\": [7]}"}) {
    try {
      requests_of_file(line);
      ADD_FAILURE() << line;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
      EXPECT_THAT(error.what(), HasSubstr("line 1: \"tools\" must be a list of JSON schemas"));
    }
  }
}

}  // namespace
}  // namespace athanor::llm
