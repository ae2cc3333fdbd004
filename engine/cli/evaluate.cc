// How well a model knows a text: its mean loss, token by token, in windows; and which of several answers it finds likeliest.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "common/counts.h"
#include "common/error.h"
#include "engine/cli/choices.h"
#include "engine/cli/commands.h"
#include "engine/cli/console.h"
#include "engine/cli/loaded_model.h"
#include "engine/cli/texts.h"
#include "engine/cli/windows.h"
#include "engine/model/decoder.h"
#include "engine/tensor/cross_entropy.h"

namespace athanor::llm {

namespace {

using tensor::Tensor;

// Sums losses over windows as they come, a batch at a time.
class Evaluation {
 public:
  Evaluation(model::Decoder& decoder, Tensor tokens, Tensor targets)
      : decoder_(decoder), tokens_(tokens), targets_(targets), batch_(tokens.dim(0)) {}

  void add(std::span<const model::TokenId> tokens, std::span<const std::int32_t> targets) {
    const Tensor row = tokens_.rows(rows_, rows_ + 1), next = targets_.rows(rows_, rows_ + 1);
    std::fill_n(row.i32(), row.count(), 0);  // what follows the end sees it, not the reverse
    std::fill_n(next.i32(), next.count(), tensor::kNoTarget);
    std::copy(tokens.begin(), tokens.end(), row.i32());
    std::copy(targets.begin(), targets.end(), next.i32());
    count_ +=
        std::count_if(targets.begin(), targets.end(), [](std::int32_t target) { return target != tensor::kNoTarget; });
    if (++rows_ == batch_) flush();
  }

  void flush() {
    if (rows_ > 0) loss_ += decoder_.loss(tokens_.rows(0, rows_), targets_.rows(0, rows_));
    rows_ = 0;
  }

  std::int64_t count() const { return count_; }  // of predicted tokens
  double loss() const { return loss_; }          // their sum, in nats

 private:
  model::Decoder& decoder_;
  const Tensor tokens_;   // (B, T)
  const Tensor targets_;  // (B, T)
  const std::int64_t batch_;
  std::int64_t rows_ = 0;  // filled
  std::int64_t count_ = 0;
  double loss_ = 0;
};

// Numbers that one of the two kinds of evaluation found, as they are printed.
struct Found {
  std::string text;
  std::string json;
};

void check_finite(double log_probability, const std::string& model) {
  if (std::isfinite(log_probability)) return;
  throw Error(ErrorKind::kCorrupt,
              "The model {} gives probabilities that are no numbers: its training diverged, or its files are damaged",
              model);
}

Found evaluate_texts(const EvaluateCommand& command, Files& files, const std::vector<std::string>& texts,
                     LoadedModel& model, std::int64_t length) {
  if (total_bytes(files, texts) == 0) {
    throw Error(ErrorKind::kInvalid, "{} is empty: there is nothing to predict", fmt::join(command.text, ", "));
  }
  tensor::Context context(static_cast<int>(command.threads));
  model::Decoder decoder(context, model.parameters, {.batch_max = command.batch, .length_max = length}, model.plan);
  const Tensor& tokens = model.plan.add("tokens", "tokens", tensor::DType::kInt32, {command.batch, length});
  const Tensor& targets = model.plan.add("tokens", "targets", tensor::DType::kInt32, {command.batch, length});
  model.load("A smaller --batch or --length needs less");

  Evaluation evaluation(decoder, tokens, targets);
  Windows windows(length, command.stride ? command.stride : length,
                  [&](auto window, auto following) { evaluation.add(window, following); });
  model::Encoder encoder(model.tokenizer);
  const auto end_of_text = model.tokenizer.end_of_text();
  std::vector<model::TokenId> ids;
  for (const std::string& path : texts) {
    windows.add(model.tokenizer.parts().before);
    bool continues = false;
    for_each_piece(files, path, [&](std::string_view piece) {
      ids.clear();
      encoder.encode(piece, ids, {.continues = continues});
      windows.add(ids);
      continues = true;
    });
    if (end_of_text) windows.add({&*end_of_text, 1});
    windows.end();
  }
  evaluation.flush();
  if (evaluation.count() == 0) {
    throw Error(ErrorKind::kInvalid, "{} has no tokens to predict", fmt::join(command.text, ", "));
  }
  const double mean = evaluation.loss() / static_cast<double>(evaluation.count());
  check_finite(mean, command.model);
  const double bits_per_byte =
      evaluation.loss() / std::log(2) / static_cast<double>(std::max<std::uint64_t>(1, total_bytes(files, texts)));
  return {fmt::format("loss {:.6f}  perplexity {:.2f}  {:.4f} bits a byte  ({} of {})\n", mean, std::exp(mean),
                      bits_per_byte, format_count(evaluation.count(), "token"),
                      format_count(std::ssize(texts), "file")),
          fmt::format(R"({{"loss": {:.9g}, "perplexity": {:.9g}, "bits_per_byte": {:.9g}, "tokens": {}}})"
                      "\n",
                      mean, std::exp(mean), bits_per_byte, evaluation.count())};
}

// The log-probability of `token` under a row of logits.
double log_probability(std::span<const float> logits, model::TokenId token) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return static_cast<double>(logits[static_cast<std::size_t>(token)]) - largest - std::log(sum);
}

Found evaluate_choices(const EvaluateCommand& command, const std::vector<Question>& questions, LoadedModel& model,
                       std::int64_t length_max) {
  std::vector<Continuation> all = continuations_of(questions, model.tokenizer, length_max);
  // Such of similar lengths go together.
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return a.tokens.size() > b.tokens.size(); });
  const std::int64_t length = std::ssize(all.front().tokens) - 1, V = model.description.config.vocab_size;
  constexpr std::int64_t kLogitsMax = 64 << 20;  // held at once, 4 bytes each
  const std::int64_t batch = std::clamp<std::int64_t>(kLogitsMax / (length * V), 1, command.batch);
  tensor::Context context(static_cast<int>(command.threads));
  model::Decoder decoder(context, model.parameters, {.batch_max = batch, .length_max = length}, model.plan);
  const Tensor& tokens = model.plan.add("tokens", "tokens", tensor::DType::kInt32, {batch * length});
  const Tensor& logits = model.plan.add("logits", "logits", tensor::DType::kFloat32, {batch * length, V});
  model.load("A smaller --length needs less");

  std::vector<std::vector<double>> found;
  for (const Question& question : questions) found.emplace_back(question.choices.size());
  for (std::size_t first = 0; first < all.size();) {
    const auto rows = std::min<std::int64_t>(batch, std::ssize(all) - static_cast<std::int64_t>(first));
    const std::int64_t T = std::ssize(all[first].tokens) - 1;
    const Tensor ids = Tensor::of(tokens.i32(), {rows, T});
    std::fill_n(ids.i32(), ids.count(), 0);
    for (std::int64_t row = 0; row < rows; ++row) {
      const Continuation& one = all[first + static_cast<std::size_t>(row)];
      std::copy(one.tokens.begin(), one.tokens.end() - 1, ids.i32() + row * T);
    }
    decoder.logits(ids, logits.rows(0, rows * T));
    for (std::int64_t row = 0; row < rows; ++row) {
      const Continuation& one = all[first + static_cast<std::size_t>(row)];
      double sum = 0;
      for (std::size_t i = one.first; i < one.tokens.size(); ++i) {
        const std::int64_t at = row * T + static_cast<std::int64_t>(i) - 1;
        sum += log_probability(logits.rows(at, at + 1).floats(), one.tokens[i]);
      }
      check_finite(sum, command.model);
      found[one.question][one.choice] = sum;
    }
    first += static_cast<std::size_t>(rows);
  }
  const ChoiceScores scores = score(questions, found);
  return {fmt::format("accuracy {:.4f}  by length {:.4f}  ({} questions)\n", scores.accuracy,
                      scores.accuracy_normalized, format_count(std::ssize(questions))),
          fmt::format(R"({{"acc": {:.9g}, "acc_norm": {:.9g}, "questions": {}}})"
                      "\n",
                      scores.accuracy, scores.accuracy_normalized, questions.size())};
}

}  // namespace

int evaluate(const EvaluateCommand& command) {
  SystemFiles files;
  if (command.text.empty() == command.choices.empty()) {
    throw Error(ErrorKind::kInvalid,
                "Say what to evaluate on: --text PATH is required for perplexity, or --choices FILE for questions{}",
                command.text.empty() ? "" : "; not both at once");
  }
  std::vector<std::string> texts;
  std::vector<Question> questions;
  if (!command.text.empty()) texts = text_files(files, command.text);
  if (!command.choices.empty()) questions = read_questions(files, command.choices);
  LoadedModel model(files, command.model, command.tokenizer, command.adapter);
  const std::int64_t context_length = model.description.config.max_position_embeddings;
  if (command.length < 0 || command.length > context_length) {
    throw Error(ErrorKind::kInvalid, "--length is {}; the model's context is {}", command.length, context_length);
  }
  const std::int64_t length = command.length ? command.length : context_length;
  if (command.stride < 0 || command.stride > length) {
    throw Error(ErrorKind::kInvalid, "--stride is {}; it must be 1 to {}, the tokens that are seen at once",
                command.stride, length);
  }
  const Found found = texts.empty() ? evaluate_choices(command, questions, model, length)
                                    : evaluate_texts(command, files, texts, model, length);
  print(command.json ? found.json : found.text);
  return 0;
}

}  // namespace athanor::llm
