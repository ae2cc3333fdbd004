#include "engine/cli/choices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "engine/model/tokenizer/bpe.h"

namespace athanor::llm {
namespace {

using testing::HasSubstr;

std::string refusal(const std::string& line) {
  try {
    question_from_json(line, "FILE, line 3");
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Choices, AreReadFromJson) {
  const Question question = question_from_json(R"({"question": "2 + 2 =", "choices": ["3", "4"], "answer": 1})", "");
  EXPECT_EQ(question.context, "2 + 2 =");
  EXPECT_EQ(question.choices, (std::vector<std::string>{"3", "4"}));
  EXPECT_EQ(question.answer, 1u);
  EXPECT_EQ(question_from_json(R"({"context": "c", "choices": ["a", "b", "c"], "answer": "c"})", "").answer, 2u);
}

TEST(Choices, AreRefusedWithTheLine) {
  EXPECT_THAT(refusal("[1]"), HasSubstr("FILE, line 3: it is no object"));
  EXPECT_THAT(refusal("{"), HasSubstr("FILE, line 3"));
  EXPECT_THAT(refusal(R"({"question": "a", "choices": ["b"], "answer": 0})"), HasSubstr("two choices"));
  EXPECT_THAT(refusal(R"({"question": "a", "choices": ["b", 3], "answer": 0})"), HasSubstr("no text"));
  EXPECT_THAT(refusal(R"({"question": "a", "choices": ["b", "c"], "answer": 2})"), HasSubstr("no choice"));
  EXPECT_THAT(refusal(R"({"question": "a", "choices": ["b", "c"], "answer": "d"})"), HasSubstr("none of its choices"));
  EXPECT_THAT(refusal(R"({"question": "a", "choices": ["b", "c"]})"), HasSubstr("no answer"));
}

// A byte is a token, and its own id.
model::Tokenizer bytes() {
  std::vector<std::pair<std::string, model::TokenId>> vocabulary;
  for (int i = 0; i < 256; ++i) vocabulary.emplace_back(std::string(1, static_cast<char>(i)), i);
  return model::Tokenizer(model::Bpe(vocabulary, {}, false), model::PreTokenizer(),
                          {{.content = "<|endoftext|>", .id = 256}});
}

TEST(Choices, FollowTheirContextsAfterASpace) {
  const auto of = [](const std::string& context, const std::string& choice, std::int64_t length = 100) {
    const Continuation found = continuations_of({{context, {choice, "other"}, 0}}, bytes(), length).front();
    std::string before, after;
    for (std::size_t i = 0; i < found.tokens.size(); ++i) {
      (i < found.first ? before : after) += found.tokens[i] == 256 ? '^' : static_cast<char>(found.tokens[i]);
    }
    return before + "|" + after;
  };
  EXPECT_EQ(of("one", "two"), "one| two");
  EXPECT_EQ(of("one ", "two"), "one| two");
  EXPECT_EQ(of("one", " two"), "one| two");
  EXPECT_EQ(of("one\n", "two"), "one|\ntwo");
  EXPECT_EQ(of("", "two"), "^|two");
  EXPECT_EQ(of("question", "two", 7), "tion| two")
      << "the beginning is cut off: 7 tokens are seen, and the 8th is predicted";
  EXPECT_THROW(of("one", "too long", 7), Error);
}

TEST(Choices, AreScoredByLikelihoodAndByLength) {
  const std::vector<Question> questions{{"", {"a", "long"}, 1}, {"", {"é", "ab"}, 0}};
  const ChoiceScores scores = score(questions, {{-1, -2}, {-3, -4}});
  EXPECT_EQ(scores.accuracy, 0.5);
  EXPECT_EQ(scores.accuracy_normalized, 0.5) << "-2 / 4 is above -1; -4 / 2 is above -3, é being one character";
}

}  // namespace
}  // namespace athanor::llm
