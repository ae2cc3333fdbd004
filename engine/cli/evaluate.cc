// How well a model knows a text: its mean loss, token by token, in windows of the model's context.
#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "engine/cli/commands.h"
#include "engine/cli/console.h"
#include "engine/cli/loaded_model.h"
#include "engine/cli/texts.h"
#include "engine/model/decoder.h"
#include "engine/tensor/cross_entropy.h"

namespace athanor::llm {

namespace {

// Sums losses over windows as they fill up.
class Evaluation {
 public:
  Evaluation(model::Decoder& decoder, tensor::Tensor tokens, tensor::Tensor targets)
      : decoder_(decoder), tokens_(tokens), targets_(targets), length_(tokens.dim(1)), batch_(tokens.dim(0)) {}

  // The tokens of one text, from its beginning. What no window of ours predicts is its first token.
  void add(const std::vector<model::TokenId>& text) {
    const auto size = static_cast<std::int64_t>(text.size());
    for (std::int64_t first = 0; first + 1 < size; first += length_) {
      auto* const tokens = tokens_.rows(rows_, rows_ + 1).i32();
      auto* const targets = targets_.rows(rows_, rows_ + 1).i32();
      for (std::int64_t i = 0; i < length_; ++i) {
        const bool inside = first + i + 1 < size;
        tokens[i] = inside ? text[static_cast<std::size_t>(first + i)] : 0;  // what follows the end sees it, not the reverse
        targets[i] = inside ? text[static_cast<std::size_t>(first + i + 1)] : tensor::kNoTarget;
        count_ += inside;
      }
      if (++rows_ == batch_) flush();
    }
  }

  void flush() {
    if (rows_ > 0) loss_ += decoder_.loss(tokens_.rows(0, rows_), targets_.rows(0, rows_));
    rows_ = 0;
  }

  std::int64_t count() const { return count_; }  // of predicted tokens
  double loss() const { return loss_; }          // their sum, in nats

 private:
  model::Decoder& decoder_;
  const tensor::Tensor tokens_;   // (B, T)
  const tensor::Tensor targets_;  // (B, T)
  const std::int64_t length_;
  const std::int64_t batch_;
  std::int64_t rows_ = 0;  // filled
  std::int64_t count_ = 0;
  double loss_ = 0;
};

}  // namespace

int evaluate(const EvaluateCommand& command) {
  SystemFiles files;
  const std::vector<std::string> texts = text_files(files, command.text);
  LoadedModel model(files, command.model, command.tokenizer);
  const std::int64_t context_length = model.description.config.max_position_embeddings;
  if (command.length < 0 || command.length > context_length) {
    throw Error(ErrorKind::kInvalid, "--length is {}; the model's context is {}", command.length, context_length);
  }
  const std::int64_t length = command.length ? command.length : context_length;
  tensor::Context context(static_cast<int>(command.threads));
  model::Decoder decoder(context, model.parameters, {.batch_max = command.batch, .length_max = length}, model.plan);
  const tensor::Tensor& tokens = model.plan.add("tokens", "tokens", tensor::DType::kInt32, {command.batch, length});
  const tensor::Tensor& targets = model.plan.add("tokens", "targets", tensor::DType::kInt32, {command.batch, length});
  model.load("A smaller --batch or --length needs less");

  Evaluation evaluation(decoder, tokens, targets);
  model::Encoder encoder(model.tokenizer);
  const auto end_of_text = model.tokenizer.end_of_text();
  std::vector<model::TokenId> ids;
  for (const std::string& path : texts) {
    ids = model.tokenizer.parts().before;
    bool continues = false;
    for_each_piece(files, path, [&](std::string_view piece) {
      encoder.encode(piece, ids, {.continues = continues});
      continues = true;
    });
    if (end_of_text) ids.push_back(*end_of_text);
    evaluation.add(ids);
  }
  evaluation.flush();
  if (evaluation.count() == 0) throw Error(ErrorKind::kInvalid, "{} has no tokens to predict", fmt::join(command.text, ", "));
  const double mean = evaluation.loss() / static_cast<double>(evaluation.count());
  const double bits_per_byte = evaluation.loss() / std::log(2) / static_cast<double>(std::max<std::uint64_t>(1, total_bytes(files, texts)));
  if (command.json) {
    print(fmt::format(R"({{"loss": {:.9g}, "perplexity": {:.9g}, "bits_per_byte": {:.9g}, "tokens": {}}})" "\n", mean,
                      std::exp(mean), bits_per_byte, evaluation.count()));
  } else {
    print(fmt::format("loss {:.6f}  perplexity {:.2f}  {:.4f} bits a byte  ({} tokens of {} file{})\n", mean, std::exp(mean),
                      bits_per_byte, format_count(evaluation.count()), texts.size(), texts.size() == 1 ? "" : "s"));
  }
  return 0;
}

}  // namespace athanor::llm
