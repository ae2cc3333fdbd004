#include "engine/cli/corpus.h"

#include <algorithm>
#include <optional>

#include "common/counts.h"
#include "common/error.h"
#include "common/hash.h"
#include "engine/cli/shared_files.h"
#include "engine/cli/texts.h"
#include "engine/model/tokenizer/bpe_trainer.h"
#include "engine/model/tokenizer/tokenizer_files.h"

namespace athanor::llm {

namespace {

using data::TokenFile;
using data::TokenFileWriter;
using model::Tokenizer;

constexpr std::uint64_t kTokenizerTextBytesMax = 256 << 20;  // more text hardly changes the merges

std::string first_bytes(Files& files, const std::string& path) {
  std::string start(data::TokenFileHeader::kBytes, '\0');
  start.resize(files.open(path, Files::Open::kRead)->read_at(0, start));
  return start;
}

// The token file that `paths` consist of; null when they are texts.
std::shared_ptr<const TokenFile> find_token_file(Files& files, const std::vector<std::string>& paths) {
  const std::vector<std::string> found = text_files(files, paths);
  for (const std::string& path : found) {
    if (!data::looks_like_token_file(first_bytes(files, path))) continue;
    if (found.size() > 1) {
      throw Error(ErrorKind::kInvalid, "{} is a token file, and is given with {}: give one token file, or texts", path,
                  format_count(std::ssize(found) - 1, "other file"));
    }
    return std::make_shared<const TokenFile>(path);
  }
  return nullptr;
}

void check_made_by(const TokenFile& file, const Tokenizer& tokenizer, const std::vector<std::string>& paths) {
  const data::TokenFileHeader& header = file.header();
  if (header.vocabulary != tokenizer.vocabulary() ||
      (!header.tokenizer_sha256.empty() && header.tokenizer_sha256 != tokenizer_digest(tokenizer))) {
    throw Error(ErrorKind::kInvalid,
                "The tokens of {} were made with another tokenizer ({} tokens) than the one given ({})",
                fmt::join(paths, ", "), header.vocabulary, tokenizer.vocabulary());
  }
}

std::size_t character_start(std::string_view text, std::size_t at) {
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
  return at;
}

// Writes the texts' tokens, from the byte `split` on into `rest` (if there is one).
void encode_split(Files& files, const std::vector<std::string>& paths, const Tokenizer& tokenizer, std::uint64_t split,
                  TokenFileWriter& into, TokenFileWriter* rest) {
  model::Encoder encoder(tokenizer);
  const auto end_of_text = tokenizer.end_of_text();
  std::vector<model::TokenId> ids;
  std::uint64_t at = 0;
  bool continues = false;  // within a file
  const auto write = [&](std::string_view text) {
    ids.clear();
    encoder.encode(text, ids, {.continues = continues});
    continues = true;
    (rest && at >= split ? *rest : into).append(ids);
    at += text.size();
  };
  for (const std::string& path : paths) {
    continues = false;
    for_each_piece(files, path, [&](std::string_view piece) {
      if (rest && at < split && at + piece.size() > split) {
        const auto wanted = static_cast<std::size_t>(split - at);
        std::size_t cut = model::safe_cut(piece, wanted);
        if (cut == 0) cut = character_start(piece, wanted);  // of two texts, no token need be that of the whole
        split = at + cut;                                    // from here on, exactly
        write(piece.substr(0, cut));
        piece.remove_prefix(cut);
      }
      if (!piece.empty()) write(piece);
    });
    if (end_of_text) (rest && at > split ? *rest : into).append(std::span(&*end_of_text, 1));
  }
}

Corpus make_corpus(Files& files, const CorpusOptions& options) {
  const std::vector<std::string> train = text_files(files, options.train);
  std::shared_ptr<const TokenFile> train_tokens = find_token_file(files, options.train);
  std::shared_ptr<const TokenFile> held_out_tokens =
      options.held_out.empty() ? nullptr : find_token_file(files, options.held_out);
  if ((train_tokens || held_out_tokens) && !options.model_tokenizer && options.tokenizer.empty() &&
      options.kept_tokenizer.empty()) {
    throw Error(
        ErrorKind::kInvalid,
        "{} is a token file, and the tokenizer that made it is needed: --tokenizer DIR, or a channel \"tokenizer\"",
        fmt::join(train_tokens ? options.train : options.held_out, ", "));
  }
  std::optional<Tokenizer> loaded = options.model_tokenizer;
  if (!options.tokenizer.empty()) loaded = model::load_tokenizer(files, options.tokenizer);
  if (!options.kept_tokenizer.empty()) {
    Tokenizer kept = model::unpack_tokenizer(options.kept_tokenizer);
    if (loaded) check_same_tokenizer(*loaded, kept, options.tokenizer.empty() ? "the model given" : options.tokenizer);
    loaded = std::move(kept);
  }
  Corpus corpus{loaded ? std::move(*loaded) : train_tokenizer(files, train, options.vocabulary), train_tokens,
                held_out_tokens};
  const Tokenizer& tokenizer = corpus.tokenizer;
  const std::string digest = tokenizer_digest(tokenizer);
  if (train_tokens) check_made_by(*train_tokens, tokenizer, options.train);
  if (held_out_tokens) check_made_by(*held_out_tokens, tokenizer, options.held_out);

  if (!options.held_out.empty() && !held_out_tokens) {
    const ScratchFile scratch;
    TokenFileWriter writer(files.open(scratch.path(), Files::Open::kTruncate), tokenizer.vocabulary(), digest);
    encode_texts(files, text_files(files, options.held_out), tokenizer, writer);
    writer.finish();
    corpus.held_out = std::make_shared<const TokenFile>(scratch.path());
  }
  if (!train_tokens) {
    const ScratchFile scratch, rest_scratch;
    const bool split = options.held_out.empty() && options.held_out_part > 0;
    const auto bytes = static_cast<double>(total_bytes(files, train));
    TokenFileWriter writer(files.open(scratch.path(), Files::Open::kTruncate), tokenizer.vocabulary(), digest);
    std::optional<TokenFileWriter> rest;
    if (split) {
      rest.emplace(files.open(rest_scratch.path(), Files::Open::kTruncate), tokenizer.vocabulary(), digest);
    }
    encode_split(files, train, tokenizer, static_cast<std::uint64_t>(bytes * (1 - options.held_out_part)), writer,
                 rest ? &*rest : nullptr);
    writer.finish();
    corpus.train = std::make_shared<const TokenFile>(scratch.path());
    if (rest) {
      rest->finish();
      corpus.held_out = std::make_shared<const TokenFile>(rest_scratch.path());
    }
  }
  return corpus;
}

std::shared_ptr<const TokenFile> shared(Files& files, const std::shared_ptr<const TokenFile>& mine,
                                        parallel::Collectives& collectives) {
  const auto file = share_file(files, mine ? mine->bytes() : std::string_view(), collectives);
  return file ? std::make_shared<const TokenFile>(file->path()) : mine;
}

Corpus shared_corpus(Files& files, const CorpusOptions& options, parallel::Collectives& collectives) {
  std::optional<Corpus> mine;
  if (collectives.rank() == 0) mine = make_corpus(files, options);
  const std::string packed =
      share_text(collectives, mine && collectives.size() > 1 ? model::pack_tokenizer(mine->tokenizer) : "");
  Corpus corpus{mine ? std::move(mine->tokenizer) : model::unpack_tokenizer(packed),
                shared(files, mine ? mine->train : nullptr, collectives),
                shared(files, mine ? mine->held_out : nullptr, collectives)};
  if (!corpus.train) throw Error(ErrorKind::kCorrupt, "Rank 0 gave no training text");
  return corpus;
}

}  // namespace

Tokenizer train_tokenizer(Files& files, const std::vector<std::string>& paths, std::int64_t vocabulary) {
  model::BpeTrainer trainer(model::PreTokenizer::gpt2());
  std::uint64_t fed = 0;
  for (const std::string& path : paths) {
    for_each_piece(files, path, [&](std::string_view piece) {
      if (fed >= kTokenizerTextBytesMax) return;
      trainer.feed(piece);
      fed += piece.size();
    });
    if (fed >= kTokenizerTextBytesMax) break;
  }
  return trainer.train({.vocabulary = vocabulary});
}

void check_same_tokenizer(const Tokenizer& given, const Tokenizer& kept, std::string_view path) {
  if (tokenizer_digest(given) == tokenizer_digest(kept)) return;
  throw Error(
      ErrorKind::kInvalid,
      "The tokenizer in {} is another than the checkpoints', and their parameters know only the latter: leave it "
      "out, or give the run an empty checkpoint folder",
      path);
}

std::string tokenizer_digest(const Tokenizer& tokenizer) { return sha256(model::tokenizer_definition(tokenizer)); }

void encode_texts(Files& files, const std::vector<std::string>& paths, const Tokenizer& tokenizer,
                  TokenFileWriter& into) {
  encode_split(files, paths, tokenizer, 0, into, nullptr);
}

Corpus prepare_corpus(Files& files, const CorpusOptions& options, parallel::Collectives& collectives) {
  try {
    return shared_corpus(files, options, collectives);
  } catch (const Error& error) {
    throw with_scratch_advice(error);
  }
}

}  // namespace athanor::llm
