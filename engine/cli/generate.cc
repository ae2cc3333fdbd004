// Texts that go on from prompts, written as they come.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>

#include "common/error.h"
#include "engine/cli/commands.h"
#include "engine/cli/console.h"
#include "engine/cli/loaded_model.h"
#include "engine/cli/requests.h"
#include "engine/model/decoder_cached.h"
#include "engine/model/stop_strings.h"
#include "engine/model/tokenizer/utf8.h"
#include "engine/tensor/available_memory.h"

namespace athanor::llm {

namespace {

// A text on its way from tokens to what is shown.
struct Answer {
  explicit Answer(const std::vector<std::string>& stop) : stops(stop) {}

  model::Utf8Stream characters;
  model::StopStrings stops;
  std::vector<model::TokenId> tokens;
  std::string text;
  std::optional<model::GenerateEnd> end;
  double seconds = 0;
};

const char* name_of(model::GenerateEnd end) {
  switch (end) {
    case model::GenerateEnd::kEndOfText: return "end_of_text";
    case model::GenerateEnd::kTokens: return "tokens";
    case model::GenerateEnd::kContextFull: return "context";
    case model::GenerateEnd::kStopped: return "stop";
  }
  return "";
}

// Prints the answers in the order of their prompts: the first that is not whole as it comes, the others when it is.
class Printer {
 public:
  Printer(const std::vector<Request>& requests, const std::vector<Answer>& answers, bool as_json)
      : requests_(requests), answers_(answers), as_json_(as_json) {}

  void begin() {
    if (!as_json_) head();
  }
  // `text` was added to an answer.
  void added(std::size_t which, std::string_view text) {
    if (!as_json_ && which == current_) print(text);
  }
  void ended() {
    while (current_ < answers_.size() && answers_[current_].end) {
      if (as_json_) print(line(current_));
      ++current_;
      if (as_json_) continue;
      print("\n");
      if (current_ == answers_.size()) break;
      head();
      print(answers_[current_].text);
    }
  }

 private:
  void head() const {
    if (requests_.size() > 1) print(fmt::format("[{}/{}] ", current_ + 1, requests_.size()));
    print(requests_[current_].prompt);
  }
  std::string line(std::size_t which) const {
    const Request& request = requests_[which];
    const Answer& answer = answers_[which];
    json::object object{{"index", which}};
    if (request.messages.empty()) object["prompt"] = request.prompt;
    if (!request.messages.empty()) object["messages"] = request.messages;
    object["text"] = answer.text;
    object["tokens"] = json::array(answer.tokens.begin(), answer.tokens.end());
    object["prompt_tokens"] = request.tokens.size();
    object["end"] = name_of(*answer.end);
    if (answer.stops.found()) object["stop"] = *answer.stops.found();
    object["seconds"] = answer.seconds;
    return json::serialize(object) + "\n";
  }

  const std::vector<Request>& requests_;
  const std::vector<Answer>& answers_;
  const bool as_json_;
  std::size_t current_ = 0;
};

// Everything that ends a text: what the model's files say, and in a chat what ends an answer.
void set_ends(const OpenedModel& model, bool chat, model::GenerateOptions& options) {
  options.end_of_text = model.description.end_of_text ? model.description.end_of_text : model.tokenizer.end_of_text();
  options.other_ends = model.description.other_ends;
  if (chat && model.tokenizer.eos()) options.other_ends.push_back(*model.tokenizer.eos());
}

}  // namespace

int generate(const GenerateCommand& command) {
  model::check(command.options);
  const model::StopStrings stops(command.stop);
  SystemFiles files;
  OpenedModel model(files, command.model, command.tokenizer, command.adapter);
  const std::vector<Request> requests = requests_of(files, command.requests, model.tokenizer);

  const model::Config& config = model.description.config;
  std::int64_t length = 0;
  std::vector<std::vector<model::TokenId>> prompts;
  bool chat = false;
  for (const Request& request : requests) {
    const std::int64_t given = std::ssize(request.tokens), left = config.max_position_embeddings - given;
    if (left < 1) {
      throw Error(ErrorKind::kInvalid,
                  "The prompt{} has {} tokens, and the model's context of {} leaves none to write: shorten it",
                  requests.size() > 1 ? fmt::format(" {} of {}", prompts.size() + 1, requests.size()) : "", given,
                  config.max_position_embeddings);
    }
    length = std::max(length, given + std::clamp<std::int64_t>(command.options.tokens, 1, left));
    prompts.push_back(request.tokens);
    chat = chat || !request.messages.empty();
  }
  tensor::Context context(static_cast<int>(command.threads));
  model::PackedWeights weights(*model.source, model.plan);
  const std::int64_t at_once = std::min(command.batch, std::ssize(requests));
  model::CachedDecoder decoder(context, weights, {.length_max = length, .sequences = at_once}, model.plan);
  model.plan.allocate(tensor::available_memory_bytes(),
                      at_once > 1 ? "A smaller --batch, fewer --tokens or shorter prompts need less"
                                  : "Fewer --tokens or a shorter prompt need less");
  weights.load();

  model::GenerateOptions options = command.options;
  set_ends(model, chat, options);
  std::vector<Answer> answers(requests.size(), Answer(command.stop));
  Printer printer(requests, answers, command.json);
  printer.begin();
  const auto began = std::chrono::steady_clock::now();
  const auto add = [&](std::size_t which, std::string_view text) {
    answers[which].text += text;
    printer.added(which, text);
  };
  model::generate(
      decoder, prompts, config.vocab_size, options,
      [&](std::size_t which, model::TokenId token) {
        Answer& answer = answers[which];
        answer.tokens.push_back(token);
        add(which, answer.stops.add(answer.characters.add(model.tokenizer.bytes(token))));
        return !answer.stops.found();
      },
      [&](std::size_t which, model::GenerateEnd end) {
        Answer& answer = answers[which];
        add(which, answer.stops.add(answer.characters.finish()));
        add(which, answer.stops.finish());
        answer.end = answer.stops.found() ? model::GenerateEnd::kStopped : end;
        answer.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
        printer.ended();
      });
  const auto full = std::count_if(answers.begin(), answers.end(),
                                  [](const Answer& a) { return a.end == model::GenerateEnd::kContextFull; });
  if (full > 0 && !command.json) {
    std::fprintf(stderr, "athanor-llm: the model's context of %lld tokens is full\n",
                 static_cast<long long>(config.max_position_embeddings));
  }
  return 0;
}

}  // namespace athanor::llm
