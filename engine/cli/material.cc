#include "engine/cli/material.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <optional>
#include <utility>

#include "common/counts.h"
#include "common/error.h"
#include "engine/cli/console.h"
#include "engine/cli/corpus.h"
#include "engine/cli/example_tokenizer.h"
#include "engine/cli/examples.h"
#include "engine/cli/loaded_model.h"
#include "engine/cli/shared_files.h"
#include "engine/data/packed_sequences.h"
#include "engine/data/token_sequences.h"
#include "engine/model/huggingface.h"
#include "engine/model/tokenizer/chat_template.h"
#include "engine/model/tokenizer/tokenizer_files.h"
#include "engine/train/language_modeling.h"
#include "engine/train/preference_optimization.h"

namespace athanor::llm {

namespace {

using model::Tokenizer;

constexpr std::int64_t kLengthMax = 512;  // of what is fine-tuned on, where nothing is said

// Rank 0's model, on every rank; the others get its shape.
model::HuggingFaceModel share_model(model::HuggingFaceModel mine, parallel::Collectives& collectives) {
  if (collectives.size() == 1) return mine;
  const bool first = collectives.rank() == 0;
  const std::string text = share_text(collectives, first ? model::huggingface_config_to_json(mine) : "");
  model::HuggingFaceModel told = model::huggingface_config_from_json(text, "rank 0's model");
  ATHANOR_ASSERT(!first || told.config == mine.config);
  return first ? std::move(mine) : std::move(told);
}

void check_length(std::int64_t length, const model::Config& config) {
  if (length <= config.max_position_embeddings) return;
  throw Error(ErrorKind::kInvalid, "length is {}, and the model's context is {}: give a length of at most that", length,
              config.max_position_embeddings);
}

std::int64_t steps_of(const TrainSettings& settings, std::int64_t examples_in_epoch) {
  if (settings.epochs <= 0) return settings.train.steps;
  const double examples = settings.epochs * static_cast<double>(examples_in_epoch);
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(
                                       std::ceil(examples / static_cast<double>(settings.train.batch) - 1e-9)));
}

// The packed tokenizer and the time that a run which is gone on with began with; no tokenizer when it begins now.
train::TrainText kept_text(Files& files, const std::string& checkpoints, const train::TrainOptions& options) {
  if (checkpoints.empty()) return {};
  return train::find_text(files, checkpoints,
                          {.batch = options.batch, .length = options.length, .seed = options.seed, .text = {}})
      .value_or(train::TrainText());
}

// ---- pre-training

// The shape of another model; its weights need not be there.
model::Config shape_of(Files& files, const std::string& path) {
  if (files.stat(path + "/config.json").has_value()) return model::load_huggingface_config(files, path).config;
  return model::open_model(files, path)->model().config;
}

// The tokenizer of that model, if it has one.
std::optional<Tokenizer> tokenizer_beside(Files& files, const std::string& path) {
  if (!files.stat(path + "/config.json").has_value()) {
    return model_tokenizer(files, *model::open_model(files, path), path, "");
  }
  return own_tokenizer(files, model::ModelFormat::kHuggingFace, path);
}

Material pretraining(Files& files, const Sources& sources, const TrainSettings& settings,
                     parallel::Collectives& collectives) {
  const bool first = collectives.rank() == 0;
  train::TrainOptions options = settings.train;
  CorpusOptions corpus_options{.train = sources.train,
                               .held_out = sources.held_out,
                               .held_out_part = settings.held_out,
                               .tokenizer = sources.tokenizer,
                               .vocabulary = settings.vocabulary};
  std::optional<model::Config> shape;
  if (first && !sources.model.empty()) {
    shape = shape_of(files, sources.model);
    check_length(options.length, *shape);
    if (sources.tokenizer.empty()) corpus_options.model_tokenizer = tokenizer_beside(files, sources.model);
  }
  if (first) corpus_options.kept_tokenizer = kept_text(files, sources.checkpoints, options).tokenizer;
  Corpus corpus = prepare_corpus(files, corpus_options, collectives);
  if (!shape) shape = model_config(settings, corpus.tokenizer.vocabulary());
  // A model may know more tokens than its own tokenizer has.
  const std::int64_t vocabulary = corpus.tokenizer.vocabulary();
  shape->vocab_size = corpus_options.model_tokenizer ? std::max(vocabulary, shape->vocab_size) : vocabulary;
  const auto end = corpus.tokenizer.end_of_text();
  model::HuggingFaceModel model =
      share_model({.config = *shape, .end_of_text = end, .begin_of_text = end}, collectives);

  auto sequences = std::make_unique<data::TokenSequences>(corpus.train, corpus.held_out,
                                                          data::TokenSequencesOptions{.length = options.length,
                                                                                      .batch = options.batch,
                                                                                      .seed = options.seed});
  options.steps = steps_of(settings, sequences->windows());
  train::TrainText text{.tokenizer = corpus_options.kept_tokenizer, .tokens = corpus.train->count(), .fingerprint = ""};
  if (text.tokenizer.empty()) text.tokenizer = model::pack_tokenizer(corpus.tokenizer, shape->max_position_embeddings);
  if (first) text.fingerprint = corpus.train->fingerprint();
  auto objective = std::make_unique<train::LanguageModeling>(*sequences, options);
  const std::int64_t windows = sequences->windows();
  return {.model = std::move(model),
          .source = nullptr,
          .tokenizer = corpus.tokenizer,
          .text = std::move(text),
          .options = std::move(options),
          .sequences = std::move(sequences),
          .pairs = nullptr,
          .held_out_pairs = nullptr,
          .objective = std::move(objective),
          .examples_in_epoch = windows,
          .notes = {fmt::format("text        {} tokens to train on, {} held out; vocabulary {}",
                                format_count(corpus.train->count()),
                                format_count(corpus.held_out ? corpus.held_out->count() : 0),
                                format_count(shape->vocab_size))}};
}

// ---- fine-tuning, and learning from preferences

// What rank 0 has of a tokenizer to fine-tune with, packed.
std::string packed_tokenizer(Files& files, const Sources& sources, const model::ModelSource& source,
                             const std::string& kept) {
  Tokenizer tokenizer = model_tokenizer(files, source, sources.model, sources.tokenizer);
  if (!sources.chat_template.empty()) {
    tokenizer = model::with_chat_template(tokenizer, files.read_all(sources.chat_template));
  }
  if (kept.empty()) return model::pack_tokenizer(tokenizer, source.model().config.max_position_embeddings);
  const Tokenizer before = model::unpack_tokenizer(kept);
  check_same_tokenizer(tokenizer, before, sources.tokenizer.empty() ? sources.model : sources.tokenizer);
  if (tokenizer.parts().chat_template != before.parts().chat_template ||
      tokenizer.parts().named_templates != before.parts().named_templates) {
    throw Error(ErrorKind::kInvalid,
                "The chat template is another than the one that the run in {} began with: give that one, or "
                "give the run an empty checkpoint folder",
                sources.checkpoints);
  }
  return kept;
}

std::vector<std::string> notes_of(const Examples& examples, const data::PackedSequences& sequences,
                                  std::int64_t length) {
  std::vector<std::string> notes{fmt::format("data        {} to train on: {}, {} of them learnt; {} held out",
                                             format_count(examples.train->count(), "example"),
                                             format_count(examples.train->header().ids, "token"),
                                             format_count(examples.targets),
                                             format_count(examples.held_out ? examples.held_out->count() : 0)),
                                 fmt::format("packed      {} of {}, {:.1f}% of them filled",
                                             format_count(sequences.rows(), "sequence"), format_count(length, "token"),
                                             100 * sequences.filled())};
  if (sequences.long_documents() > 0) {
    notes.push_back(fmt::format(
        "cut         {} examples are longer than {} tokens and lose their end, {} of all have no answer left and are "
        "left out; a larger length keeps them",
        format_count(sequences.long_documents()), length, format_count(sequences.left_out())));
  }
  return notes;
}

// A model that goes on learning, without what it learns from.
Material tuning(Files& files, const Sources& sources, const TrainSettings& settings,
                parallel::Collectives& collectives) {
  std::unique_ptr<model::ModelSource> source;
  if (collectives.rank() == 0) source = model::open_model(files, sources.model);
  model::HuggingFaceModel model = share_model(source ? source->model() : model::HuggingFaceModel(), collectives);
  train::TrainOptions options = settings.train;
  if (options.length == 0) options.length = std::min(kLengthMax, model.config.max_position_embeddings);
  check_length(options.length, model.config);
  const train::TrainText kept = source ? kept_text(files, sources.checkpoints, options) : train::TrainText();
  std::string packed = share_text(collectives, source ? packed_tokenizer(files, sources, *source, kept.tokenizer) : "");
  Tokenizer tokenizer = model::unpack_tokenizer(packed);
  if (source && !model.end_of_text) model.end_of_text = tokenizer.eos() ? tokenizer.eos() : tokenizer.end_of_text();
  return {.model = std::move(model),
          .source = std::move(source),
          .tokenizer = std::move(tokenizer),
          .text = {.tokenizer = std::move(packed),
                   .tokens = 0,
                   .fingerprint = "",
                   .now = kept.now != 0 ? kept.now : model::local_time(std::time(nullptr))},
          .options = std::move(options),
          .sequences = nullptr,
          .pairs = nullptr,
          .held_out_pairs = nullptr,
          .objective = nullptr,
          .notes = {}};
}

Examples examples_of(Files& files, const Sources& sources, const TrainSettings& settings, bool pairs,
                     Material& material, parallel::Collectives& collectives) {
  Examples examples = prepare_examples(files,
                                       {.train = sources.train,
                                        .held_out = sources.held_out,
                                        .held_out_part = settings.held_out,
                                        .length = material.options.length,
                                        .pairs = pairs,
                                        .now = material.text.now},
                                       material.tokenizer, collectives);
  material.text.tokens = examples.train->header().ids;
  if (collectives.rank() == 0) material.text.fingerprint = examples.train->fingerprint();
  return examples;
}

Material finetuning(Files& files, const Sources& sources, const TrainSettings& settings,
                    parallel::Collectives& collectives) {
  Material material = tuning(files, sources, settings, collectives);
  train::TrainOptions& options = material.options;
  const Examples examples = examples_of(files, sources, settings, false, material, collectives);
  auto sequences =
      std::make_unique<data::PackedSequences>(examples.train, examples.held_out,
                                              data::PackedSequencesOptions{.length = options.length,
                                                                           .batch = options.batch,
                                                                           .seed = options.seed,
                                                                           .long_documents =
                                                                               data::LongDocuments::kTruncate});
  options.steps = steps_of(settings, sequences->rows());
  material.notes = notes_of(examples, *sequences, options.length);
  material.examples_in_epoch = sequences->rows();
  material.objective = std::make_unique<train::LanguageModeling>(*sequences, options);
  material.sequences = std::move(sequences);
  return material;
}

std::vector<std::string> notes_of(const Examples& examples, const data::PreferenceSequences& pairs,
                                  std::int64_t length) {
  std::vector<std::string> notes{
      fmt::format("data        {} to train on: {}, {} of them in answers; {} held out",
                  format_count(pairs.pairs(), "pair"), format_count(examples.train->header().ids, "token"),
                  format_count(examples.targets),
                  format_count(examples.held_out ? examples.held_out->count() / 2 : 0, "pair"))};
  if (pairs.long_pairs() + pairs.left_out() > 0) {
    notes.push_back(
        fmt::format("cut         {} pairs have an answer that loses its end after {} tokens, and {} one that would not "
                    "begin, and are "
                    "left out; a larger length keeps them",
                    format_count(pairs.long_pairs()), length, format_count(pairs.left_out())));
  }
  notes.emplace_back(
      "reference   the model as it is: what it thinks of all pairs is computed once, before the first step");
  return notes;
}

Material preferring(Files& files, const Sources& sources, const TrainSettings& settings,
                    parallel::Collectives& collectives) {
  Material material = tuning(files, sources, settings, collectives);
  train::TrainOptions& options = material.options;
  const Examples examples = examples_of(files, sources, settings, true, material, collectives);
  const data::PreferenceSequencesOptions as{.length = options.length, .batch = options.batch, .seed = options.seed};
  material.pairs = std::make_unique<data::PreferenceSequences>(examples.train, as);
  if (material.pairs->pairs() == 0) {
    throw Error(ErrorKind::kInvalid, "Of {} none has both answers begin within {} tokens: give a larger length",
                format_count(material.pairs->left_out(), "pair"), options.length + 1);
  }
  options.steps = steps_of(settings, material.pairs->pairs());
  material.notes = notes_of(examples, *material.pairs, options.length);
  if (examples.held_out) material.held_out_pairs = std::make_unique<data::PreferenceSequences>(examples.held_out, as);
  if (material.held_out_pairs && material.held_out_pairs->pairs() == 0) {
    material.notes.push_back(
        fmt::format("held out    of {} none has both answers begin within {} tokens: there is no evaluation",
                    format_count(material.held_out_pairs->left_out(), "pair"), options.length + 1));
    material.held_out_pairs.reset();
  }
  material.examples_in_epoch = material.pairs->pairs();
  material.objective = std::make_unique<train::PreferenceOptimization>(*material.pairs, material.held_out_pairs.get(),
                                                                       options, settings.dpo);
  return material;
}

}  // namespace

Material prepare_material(Files& files, const Sources& sources, const TrainSettings& settings,
                          parallel::Collectives& collectives) {
  switch (task_of(settings.task)) {
    case Task::kFinetune: return finetuning(files, sources, settings, collectives);
    case Task::kDpo: return preferring(files, sources, settings, collectives);
    case Task::kPretrain: break;
  }
  return pretraining(files, sources, settings, collectives);
}

}  // namespace athanor::llm
