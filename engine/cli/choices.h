// Multiple-choice questions, answered by likelihood: of the choices after the question, the one that the model finds
// likeliest. As lm-evaluation-harness does it: `accuracy` compares the choices' log-probabilities, `accuracy_normalized` those
// divided by the choices' lengths in characters, which takes away the short ones' advantage.
//
// A line of the file:   {"question": "2 + 2 =", "choices": ["3", "4"], "answer": 1}
//   "question" (or "context") and each choice are joined by a space, unless there is one already; "answer" is the place of
//   the right choice, from 0, or its text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/files.h"
#include "engine/model/decoder.h"
#include "engine/model/tokenizer/tokenizer.h"

namespace athanor::llm {

struct Question {
  std::string context;
  std::vector<std::string> choices;
  std::size_t answer = 0;
};

// Throws kInvalid, naming the line.
std::vector<Question> read_questions(Files& files, const std::string& path);
Question question_from_json(std::string_view line, const std::string& source);

// A choice as what the model is asked: tokens, of which those from `first` on are the choice's.
struct Continuation {
  std::vector<model::TokenId> tokens;
  std::size_t first = 0;
  std::size_t question = 0, choice = 0;
};
// Contexts are cut at their beginning to fit `length` tokens. Throws kInvalid for a choice that does not fit itself.
std::vector<Continuation> continuations_of(const std::vector<Question>& questions, const model::Tokenizer& tokenizer,
                                           std::int64_t length);

struct ChoiceScores {
  double accuracy = 0;
  double accuracy_normalized = 0;
};
// `log_probabilities`: of each question's each choice.
ChoiceScores score(const std::vector<Question>& questions, const std::vector<std::vector<double>>& log_probabilities);

}  // namespace athanor::llm
