// Text that goes on from a prompt, written as it comes.
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <iterator>

#include "common/error.h"
#include "engine/cli/commands.h"
#include "engine/cli/console.h"
#include "engine/cli/loaded_model.h"
#include "engine/model/decoder_cached.h"
#include "engine/model/tokenizer/utf8.h"

namespace athanor::llm {

int generate(const GenerateCommand& command) {
  model::check(command.options);
  SystemFiles files;
  LoadedModel model(files, command.model, command.tokenizer);
  const std::string prompt =
      command.prompt == "-" ? std::string(std::istreambuf_iterator<char>(std::cin), {}) : command.prompt;
  std::vector<model::TokenId> tokens = model.tokenizer.parts().before;  // as the model has seen texts begin
  model::Encoder(model.tokenizer).encode(prompt, tokens);
  const auto end_of_text = model.tokenizer.end_of_text();
  if (tokens.empty()) tokens.push_back(end_of_text.value_or(0));  // a text begins where another has ended

  const model::Config& config = model.description.config;
  const std::int64_t given = std::ssize(tokens), left = config.max_position_embeddings - given;
  if (left < 1) {
    throw Error(ErrorKind::kInvalid, "The prompt has {} tokens, and the model's context of {} leaves none to write: shorten it",
                given, config.max_position_embeddings);
  }
  const std::int64_t length = given + std::clamp<std::int64_t>(command.options.tokens, 1, left);
  tensor::Context context(static_cast<int>(command.threads));
  model::CachedDecoder decoder(context, model.parameters, {.length_max = length}, model.plan);
  model.load("Fewer --tokens or a shorter prompt need less");

  model::GenerateOptions options = command.options;
  options.end_of_text = model.description.end_of_text ? model.description.end_of_text : end_of_text;
  model::Utf8Stream stream;
  print(prompt);
  const model::GenerateEnd end = model::generate(decoder, tokens, config.vocab_size, options, [&](model::TokenId token) {
    print(stream.add(model.tokenizer.bytes(token)));
    return true;
  });
  print(stream.finish() + "\n");
  if (end == model::GenerateEnd::kContextFull) {
    std::fprintf(stderr, "athanor-llm: the model's context of %lld tokens is full\n", static_cast<long long>(length));
  }
  return 0;
}

}  // namespace athanor::llm
