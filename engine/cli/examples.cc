#include "engine/cli/examples.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <functional>
#include <span>
#include <utility>

#include "common/error.h"
#include "common/json.h"
#include "engine/cli/corpus.h"
#include "engine/cli/example_tokenizer.h"
#include "engine/cli/shared_files.h"
#include "engine/cli/texts.h"
#include "engine/data/text_cutter.h"
#include "engine/data/tokenize_examples.h"

namespace athanor::llm {

namespace {

using data::DocumentFile;
using data::DocumentFileWriter;
using data::TokenRun;

bool holds_lines(const std::string& path) {
  return std::ranges::any_of(std::array{".jsonl", ".ndjson", ".json"}, [&](std::string_view suffix) {
    return path.size() >= suffix.size() &&
           std::ranges::equal(suffix, std::string_view(path).substr(path.size() - suffix.size()), {}, {},
                              [](unsigned char c) { return std::tolower(c); });
  });
}

// A text whose first line is an example was meant to be read as examples.
void check_text(const std::string& path, std::string_view start) {
  try {
    const json::value line = json::parse(start.substr(0, start.find('\n')), path);
    const auto has = [&](std::string_view name) { return line.is_object() && line.as_object().contains(name); };
    if (!has("messages") && !has("completion") && !has("text")) return;
  } catch (const std::exception&) {
    return;  // it is none
  }
  throw Error(ErrorKind::kInvalid,
              "{} begins with an example as a line of JSON, and its name would have it learnt as plain text: give it a "
              "name that ends in .jsonl, or take the line out",
              path);
}

// A document file that has no name.
class ScratchDocuments {
 public:
  // `group`: documents that belong together, 1 or 2.
  ScratchDocuments(Files& files, const model::Tokenizer& tokenizer, std::int64_t group)
      : writer_(files.open(scratch_.path(), Files::Open::kTruncate), tokenizer.vocabulary(),
                tokenizer_digest(tokenizer), group) {}

  void append(std::span<const TokenRun> document) {
    writer_.append(document);
    bool first = true;  // nothing predicts a document's first token
    for (const TokenRun& run : document) {
      if (run.tokens.empty()) continue;
      if (run.in_loss) targets_ += static_cast<std::int64_t>(run.tokens.size()) - first;
      first = false;
    }
  }
  std::int64_t targets() const { return targets_; }
  // Null when there are no documents.
  std::shared_ptr<const DocumentFile> finish() {
    writer_.finish();
    return writer_.header().documents > 0 ? std::make_shared<const DocumentFile>(scratch_.path()) : nullptr;
  }

 private:
  const ScratchFile scratch_;
  DocumentFileWriter writer_;
  std::int64_t targets_ = 0;
};

void tokenize_files(Files& files, const std::vector<std::string>& paths, const model::Tokenizer& tokenizer,
                    const ExampleOptions& options, const data::DocumentSink& into) {
  TemplateTokenizer examples(tokenizer, options.now);
  data::TextCutter cutter(options.length, into);
  const auto add = [&](std::span<const TokenRun> document) {
    const bool text = document.size() == 1 && document[0].in_loss;
    if (!text) return into(document);
    cutter.append(document[0].tokens);
    cutter.finish();
  };
  std::vector<model::TokenId> ids;
  for (const std::string& path : text_files(files, paths)) {
    if (holds_lines(path)) {
      data::tokenize_examples(files, {path}, examples, 1, add);
      continue;
    }
    cutter.append(examples.before());
    model::Encoder encoder(tokenizer);
    bool continues = false;
    for_each_piece(files, path, [&](std::string_view piece) {
      if (!continues) check_text(path, piece);
      ids.clear();
      encoder.encode(piece, ids, {.continues = std::exchange(continues, true)});
      cutter.append(ids);
    });
    if (continues) cutter.append(std::vector{examples.end()});
    cutter.finish();
  }
}

void tokenize_pairs(Files& files, const std::vector<std::string>& paths, const model::Tokenizer& tokenizer,
                    std::time_t now, const data::DocumentSink& into) {
  TemplateTokenizer examples(tokenizer, now);
  const std::vector<std::string> all = text_files(files, paths);
  for (const std::string& path : all) {
    if (holds_lines(path)) continue;
    throw Error(
        ErrorKind::kInvalid,
        "{} is no file of preferences, a JSON object a line with \"prompt\", \"chosen\" and \"rejected\": give it a "
        "name that ends in .jsonl if it is one, or leave it out",
        path);
  }
  data::tokenize_examples(files, all, examples, 2, into);
}

void tokenize(Files& files, const std::vector<std::string>& paths, const ExampleOptions& options,
              const model::Tokenizer& tokenizer, const data::DocumentSink& into) {
  if (options.pairs) return tokenize_pairs(files, paths, tokenizer, options.now, into);
  tokenize_files(files, paths, tokenizer, options, into);
}

Examples make_examples(Files& files, const ExampleOptions& options, const model::Tokenizer& tokenizer) {
  const std::int64_t group = options.pairs ? 2 : 1;
  ScratchDocuments train(files, tokenizer, group), held_out(files, tokenizer, group);
  const double part = options.held_out.empty() ? options.held_out_part : 0;
  std::int64_t documents = 0;
  tokenize(files, options.train, options, tokenizer, [&](std::span<const TokenRun> document) {
    // One in so many, spread over the data, which may be sorted.
    const auto count = static_cast<double>(documents++ / group);
    const bool held = std::floor((count + 1) * part) > std::floor(count * part);
    (held ? held_out : train).append(document);
  });
  if (!options.held_out.empty()) {
    tokenize(files, options.held_out, options, tokenizer,
             [&](std::span<const TokenRun> document) { held_out.append(document); });
  }
  Examples made{.train = train.finish(), .held_out = held_out.finish(), .targets = train.targets()};
  if (!made.train) {
    throw Error(ErrorKind::kInvalid, "There is nothing to learn: {} has no text", fmt::join(options.train, ", "));
  }
  return made;
}

std::shared_ptr<const DocumentFile> shared(Files& files, const std::shared_ptr<const DocumentFile>& mine,
                                           parallel::Collectives& collectives) {
  const auto file = share_file(files, mine ? mine->bytes() : std::string_view(), collectives);
  return file ? std::make_shared<const DocumentFile>(file->path()) : mine;
}

}  // namespace

Examples prepare_examples(Files& files, const ExampleOptions& options, const model::Tokenizer& tokenizer,
                          parallel::Collectives& collectives) {
  try {
    Examples examples;
    if (collectives.rank() == 0) examples = make_examples(files, options, tokenizer);
    examples.train = shared(files, examples.train, collectives);
    examples.held_out = shared(files, examples.held_out, collectives);
    if (!examples.train) throw Error(ErrorKind::kCorrupt, "Rank 0 gave nothing to learn");
    return examples;
  } catch (const Error& error) {
    throw with_scratch_advice(error);
  }
}

}  // namespace athanor::llm
