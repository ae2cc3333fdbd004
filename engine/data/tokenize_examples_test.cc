#include "engine/data/tokenize_examples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "common/temporary_folder.h"
#include "engine/data/json_lines.h"

namespace athanor::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Bytes as tokens; a message is "r:content." with the role's first letter. 0 ends a text.
class ByteTokenizer final : public ExampleTokenizer {
 public:
  std::vector<TokenRun> tokens(const Conversation& chat) override {
    std::vector<TokenRun> runs;
    for (std::size_t i = 0; i < chat.messages.size(); ++i) {
      const Message& message = chat.messages[i];
      if (message.role == "pirate") throw Error(ErrorKind::kInvalid, "the template knows no role \"pirate\"");
      runs.push_back(run(message.role.substr(0, 1) + ":", false));
      runs.push_back(run(message.content + ".", message.role == "assistant" && i >= chat.answers_from));
    }
    return runs;
  }
  std::vector<TokenRun> tokens(const Completion& text) override {
    return {run(text.prompt, false), run(text.completion + '\0', true)};
  }
  std::vector<TokenRun> tokens(const Text& text) override { return {run(text.text + '\0', true)}; }

 private:
  static TokenRun run(const std::string& text, bool in_loss) {
    return {std::vector<std::int32_t>(text.begin(), text.end()), in_loss};
  }
};

class TokenizeExamplesTest : public testing::Test {
 protected:
  // The documents of JSONL files, as text; what is not in the loss is shown as '-'.
  std::vector<std::string> learnt(const std::vector<std::string>& contents, std::int64_t group = 1) {
    std::vector<std::string> paths;
    for (const std::string& text : contents) {
      paths.push_back(folder_ / fmt::format("{}.jsonl", paths.size()));
      files_.replace(paths.back(), text);
    }
    DocumentFileWriter writer(files_, folder_ / "documents", 256, {}, group);
    ByteTokenizer tokenizer;
    counts_ = tokenize_examples(files_, paths, tokenizer, writer);
    writer.finish();
    const DocumentFile file(folder_ / "documents");
    std::vector<std::string> documents;
    for (std::int64_t i = 0; i < file.count(); ++i) {
      std::vector<std::int32_t> ids(static_cast<std::size_t>(file.end(i) - file.begin(i)));
      file.read_targets(file.begin(i), ids);
      documents.emplace_back();
      for (const std::int32_t id : ids) documents.back() += id < 0 ? '-' : id == 0 ? '$' : static_cast<char>(id);
    }
    return documents;
  }

  const TemporaryFolder folder_;
  SystemFiles files_;
  TokenizedCounts counts_;
};

TEST_F(TokenizeExamplesTest, EveryLineBecomesADocument) {
  EXPECT_THAT(learnt({"\xEF\xBB\xBF{\"text\": \"hi\"}\r\n\n  \n{\"prompt\": \"1+1\", \"completion\": \"=2\"}",
                      R"({"messages": [{"role": "user", "content": "yo"}, {"role": "assistant", "content": "ho"}]})"}),
              ElementsAre("hi$", "---=2$", "-------ho."));
  EXPECT_EQ(counts_.lines, 3);
  EXPECT_EQ(counts_.tokens, 3 + 6 + 10);
  EXPECT_EQ(counts_.targets, 2 + 3 + 3);  // nothing predicts the first token of "hi"
}

TEST_F(TokenizeExamplesTest, APreferenceBecomesTwo) {
  EXPECT_THAT(learnt({R"({"prompt": "1+1", "chosen": "=2", "rejected": "=11"})"
                      "\n"
                      R"({"chosen": [{"role": "user", "content": "yo"}, {"role": "assistant", "content": "ho"}], )"
                      R"("rejected": [{"role": "user", "content": "yo"}, {"role": "assistant", "content": "no"}]})"},
                     2),
              ElementsAre("---=2$", "---=11$", "-------ho.", "-------no."));
}

TEST_F(TokenizeExamplesTest, BadLinesAreNamed) {
  const std::pair<std::string, const char*> cases[] = {
      {"{\"text\": \"a\"}\n\n{\"text\": 1}", "0.jsonl, line 3: JSON field 'text'"},
      {"{\"text\": \"a\"}\n{\"messages\": [{\"role\": \"pirate\", \"content\": \"x\"}, {\"role\": \"assistant\", "
       "\"content\": \"x\"}]}",
       "0.jsonl, line 2: the template knows no role"},
      {"{\"text\": \"\xFF\"}", "0.jsonl, line 1: not JSON"},
      {"\n\n", "has no lines"},
      {"", "has no lines"},
  };
  for (const auto& [text, expected] : cases) {
    try {
      learnt({text});
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
      EXPECT_THAT(error.what(), HasSubstr(expected));
    }
  }
}

TEST_F(TokenizeExamplesTest, LinesMayCrossThePiecesThatAreRead) {
  std::string text;
  for (int i = 0; i < 3; ++i) text += "{\"text\": \"" + std::string(3 << 20, static_cast<char>('a' + i)) + "\"}\n";
  files_.replace(folder_ / "long.jsonl", text);
  std::vector<std::string> sources;
  std::string joined;
  for_each_line(files_, folder_ / "long.jsonl", [&](std::string_view line, const std::string& source) {
    sources.push_back(source);
    joined += std::string(line) + "\n";
  });
  EXPECT_EQ(joined, text);
  EXPECT_THAT(sources, ElementsAre(HasSubstr("line 1"), HasSubstr("line 2"), HasSubstr("line 3")));
}

}  // namespace
}  // namespace athanor::data
