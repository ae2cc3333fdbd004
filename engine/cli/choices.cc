#include "engine/cli/choices.h"

#include <algorithm>

#include "common/counts.h"
#include "common/error.h"
#include "common/json.h"
#include "engine/data/json_lines.h"

namespace athanor::llm {

namespace {

constexpr std::string_view kBlanks = " \t\n\r";

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

Question question_from_json(std::string_view line, const std::string& source) {
  const json::value parsed = json::parse(line, source);
  const auto refuse = [&](const char* why) {
    return Error(ErrorKind::kInvalid,
                 "{}: {}; a question is {{\"question\": TEXT, \"choices\": [TEXT, TEXT, …], \"answer\": PLACE}}",
                 source, why);
  };
  if (!parsed.is_object()) throw refuse("it is no object");
  const json::object& object = parsed.get_object();
  Question question;
  const auto context = json::find_string(object, "question");
  question.context = context ? *context : json::find_string(object, "context").value_or("");
  const json::array* choices = json::find_array(object, "choices");
  if (choices == nullptr || choices->size() < 2) throw refuse("it has not two choices or more");
  for (const json::value& choice : *choices) {
    if (!choice.is_string() || choice.get_string().empty()) throw refuse("a choice is no text");
    question.choices.emplace_back(choice.get_string());
  }
  const json::value* answer = object.if_contains("answer");
  if (answer != nullptr && answer->is_string()) {
    const auto found = std::find(question.choices.begin(), question.choices.end(), std::string(answer->get_string()));
    if (found == question.choices.end()) throw refuse("its answer is none of its choices");
    question.answer = static_cast<std::size_t>(found - question.choices.begin());
    return question;
  }
  const auto place = json::find_int(object, "answer");
  if (!place) throw refuse("it has no answer");
  if (*place < 0 || *place >= std::ssize(question.choices)) throw refuse("its answer is the place of no choice");
  question.answer = static_cast<std::size_t>(*place);
  return question;
}

std::vector<Question> read_questions(Files& files, const std::string& path) {
  std::vector<Question> questions;
  data::for_each_line(files, path, [&](std::string_view line, const std::string& source) {
    questions.push_back(question_from_json(line, source));
  });
  if (questions.empty()) throw Error(ErrorKind::kInvalid, "{} has no questions: every line is one", path);
  return questions;
}

std::vector<Continuation> continuations_of(const std::vector<Question>& questions, const model::Tokenizer& tokenizer,
                                           std::int64_t length) {
  model::Encoder encoder(tokenizer);
  std::vector<Continuation> continuations;
  for (std::size_t q = 0; q < questions.size(); ++q) {
    const Question& question = questions[q];
    // Blanks at the context's end go to the choice, which most tokenizers learned with a space in front.
    const std::size_t end = question.context.find_last_not_of(kBlanks) + 1;
    const std::string context = question.context.substr(0, end), blanks = question.context.substr(end);
    std::vector<model::TokenId> before = tokenizer.parts().before;
    encoder.encode(context, before);
    for (std::size_t c = 0; c < question.choices.size(); ++c) {
      const std::string& choice = question.choices[c];
      const bool joined = context.empty() || !blanks.empty() || kBlanks.find(choice.front()) != std::string_view::npos;
      Continuation continuation{.tokens = tokenizer.parts().before, .first = before.size(), .question = q, .choice = c};
      encoder.encode(context + (joined ? blanks : " ") + choice, continuation.tokens);
      if (before.empty()) {  // a text begins where another has ended
        continuation.tokens.insert(continuation.tokens.begin(), tokenizer.end_of_text().value_or(0));
        continuation.first = 1;
      } else {
        // Where a token spans context and choice, it is the choice's.
        std::size_t same = 0;
        while (same < before.size() && same + 1 < continuation.tokens.size() &&
               before[same] == continuation.tokens[same]) {
          ++same;
        }
        continuation.first = std::max<std::size_t>(same, 1);
      }
      // The last token is only predicted.
      const std::size_t most = static_cast<std::size_t>(length) + 1;
      if (continuation.tokens.size() > most) {
        const std::size_t cut = continuation.tokens.size() - most;
        if (cut >= continuation.first) {
          throw Error(ErrorKind::kInvalid,
                      "Choice {} of question {} has {}, and {} are seen at once: give a larger --length", c, q + 1,
                      format_count(static_cast<std::int64_t>(continuation.tokens.size() - continuation.first), "token"),
                      length);
        }
        continuation.tokens.erase(continuation.tokens.begin(),
                                  continuation.tokens.begin() + static_cast<std::ptrdiff_t>(cut));
        continuation.first -= cut;
      }
      continuations.push_back(std::move(continuation));
    }
  }
  return continuations;
}

ChoiceScores score(const std::vector<Question>& questions, const std::vector<std::vector<double>>& log_probabilities) {
  ATHANOR_ASSERT(questions.size() == log_probabilities.size() && !questions.empty());
  double right = 0, right_normalized = 0;
  for (std::size_t q = 0; q < questions.size(); ++q) {
    std::vector<double> normalized;
    for (std::size_t c = 0; c < questions[q].choices.size(); ++c) {
      normalized.push_back(log_probabilities[q][c] / static_cast<double>(characters(questions[q].choices[c])));
    }
    const auto likeliest = [](const std::vector<double>& of) {
      return static_cast<std::size_t>(std::max_element(of.begin(), of.end()) - of.begin());
    };
    right += likeliest(log_probabilities[q]) == questions[q].answer;
    right_normalized += likeliest(normalized) == questions[q].answer;
  }
  const auto count = static_cast<double>(questions.size());
  return {right / count, right_normalized / count};
}

}  // namespace athanor::llm
