#include "engine/cli/corpus.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <optional>

#include "common/error.h"
#include "common/hash.h"
#include "engine/cli/console.h"
#include "engine/cli/texts.h"
#include "engine/model/tokenizer/bpe_trainer.h"
#include "engine/model/tokenizer/tokenizer_files.h"

namespace athanor::llm {

namespace {

using data::TokenFile;
using data::TokenFileWriter;
using model::Tokenizer;

constexpr std::uint64_t kTokenizerTextBytesMax = 256 << 20;  // more text hardly changes the merges
constexpr std::string_view kNameless = "/proc/self/fd/";  // + descriptor: a file that has no other path
constexpr std::size_t kBroadcastBytes = 4 << 20;
constexpr std::int64_t kBroadcastBytesMax = std::int64_t{1} << 46;

// A file for tokens that has no name, so that nothing is left behind, however we end. It is gone when the last that has it
// open or mapped is.
class Scratch {
 public:
  Scratch() {
    std::string name = (std::filesystem::temp_directory_path() / "athanor-llm-XXXXXX").string();
    descriptor_ = ::mkostemp(name.data(), O_CLOEXEC);
    if (descriptor_ < 0) throw system_error(errno, "making a file for the tokens at " + name);
    ::unlink(name.c_str());
  }
  ~Scratch() { ::close(descriptor_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Opens it anew, as long as this lives.
  std::string path() const { return fmt::format("{}{}", kNameless, descriptor_); }

 private:
  int descriptor_ = -1;
};

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
      throw Error(ErrorKind::kInvalid, "{} is a token file, and there are {} files with it: give one token file, or texts",
                  path, found.size() - 1);
    }
    return std::make_shared<const TokenFile>(path);
  }
  return nullptr;
}

void check_made_by(const TokenFile& file, const Tokenizer& tokenizer, const std::vector<std::string>& paths) {
  const data::TokenFileHeader& header = file.header();
  if (header.vocabulary != tokenizer.vocabulary() ||
      (!header.tokenizer_sha256.empty() && header.tokenizer_sha256 != tokenizer_digest(tokenizer))) {
    throw Error(ErrorKind::kInvalid, "The tokens of {} were made with another tokenizer ({} tokens) than the one given ({})",
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
        split = at + cut;  // from here on, exactly
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
  if ((train_tokens || held_out_tokens) && options.tokenizer.empty() && options.kept_tokenizer.empty()) {
    throw Error(ErrorKind::kInvalid,
                "{} is a token file, and the tokenizer that made it is needed: --tokenizer DIR, or a channel \"tokenizer\"",
                fmt::join(train_tokens ? options.train : options.held_out, ", "));
  }
  std::optional<Tokenizer> loaded;
  if (!options.tokenizer.empty()) loaded = model::load_tokenizer(files, options.tokenizer);
  if (!options.kept_tokenizer.empty()) {
    Tokenizer kept = model::unpack_tokenizer(options.kept_tokenizer);
    if (loaded && tokenizer_digest(*loaded) != tokenizer_digest(kept)) {
      throw Error(ErrorKind::kInvalid,
                  "The tokenizer in {} is another than the checkpoints', and their parameters know only the latter: leave it "
                  "out, or give the run an empty checkpoint folder",
                  options.tokenizer);
    }
    loaded = std::move(kept);
  }
  Corpus corpus{loaded ? std::move(*loaded) : train_tokenizer(files, train, options.vocabulary), train_tokens, held_out_tokens};
  const Tokenizer& tokenizer = corpus.tokenizer;
  const std::string digest = tokenizer_digest(tokenizer);
  if (train_tokens) check_made_by(*train_tokens, tokenizer, options.train);
  if (held_out_tokens) check_made_by(*held_out_tokens, tokenizer, options.held_out);

  if (!options.held_out.empty() && !held_out_tokens) {
    const Scratch scratch;
    TokenFileWriter writer(files, files.open(scratch.path(), Files::Open::kTruncate), tokenizer.vocabulary(), digest);
    encode_texts(files, text_files(files, options.held_out), tokenizer, writer);
    writer.finish();
    corpus.held_out = std::make_shared<const TokenFile>(scratch.path());
  }
  if (!train_tokens) {
    const Scratch scratch, rest_scratch;
    const bool split = options.held_out.empty() && options.held_out_part > 0;
    const auto bytes = static_cast<double>(total_bytes(files, train));
    TokenFileWriter writer(files, files.open(scratch.path(), Files::Open::kTruncate), tokenizer.vocabulary(), digest);
    std::optional<TokenFileWriter> rest;
    if (split) {
      rest.emplace(files, files.open(rest_scratch.path(), Files::Open::kTruncate), tokenizer.vocabulary(), digest);
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

std::int64_t share_number(parallel::Collectives& collectives, std::int64_t number) {
  collectives.broadcast(std::as_writable_bytes(std::span(&number, 1)), 0);
  return number;
}

// Rank 0 gives `bytes`; on the others `take` gets them, piece after piece.
void share_bytes(parallel::Collectives& collectives, std::string_view bytes, const std::function<void(std::string_view)>& take) {
  const std::int64_t size = share_number(collectives, static_cast<std::int64_t>(bytes.size()));
  if (size < 0 || size > kBroadcastBytesMax) throw Error(ErrorKind::kCorrupt, "Rank 0 announced {} bytes of tokens", size);
  std::string buffer;
  for (std::int64_t at = 0; at < size; at += static_cast<std::int64_t>(buffer.size())) {
    buffer.resize(std::min(kBroadcastBytes, static_cast<std::size_t>(size - at)));
    if (collectives.rank() == 0) bytes.copy(buffer.data(), buffer.size(), static_cast<std::size_t>(at));
    collectives.broadcast(std::as_writable_bytes(std::span(buffer)), 0);
    if (collectives.rank() != 0) take(buffer);
  }
}

std::shared_ptr<const TokenFile> share_file(Files& files, const TokenFile* mine, parallel::Collectives& collectives) {
  const Scratch scratch;
  const auto file = files.open(scratch.path(), Files::Open::kTruncate);
  share_bytes(collectives, mine ? mine->bytes() : std::string_view(), [&](std::string_view bytes) { file->append(bytes); });
  if (collectives.rank() == 0 || file->size() == 0) return nullptr;
  return std::make_shared<const TokenFile>(scratch.path());
}

Corpus shared_corpus(Files& files, const CorpusOptions& options, parallel::Collectives& collectives) {
  if (collectives.size() == 1) return make_corpus(files, options);
  if (collectives.rank() == 0) {
    Corpus corpus = make_corpus(files, options);
    share_bytes(collectives, model::pack_tokenizer(corpus.tokenizer), {});
    share_file(files, corpus.train.get(), collectives);
    share_file(files, corpus.held_out.get(), collectives);
    return corpus;
  }
  std::string packed;
  share_bytes(collectives, {}, [&](std::string_view bytes) { packed += bytes; });
  Tokenizer tokenizer = model::unpack_tokenizer(packed);
  auto train = share_file(files, nullptr, collectives);
  auto held_out = share_file(files, nullptr, collectives);
  if (!train) throw Error(ErrorKind::kCorrupt, "Rank 0 gave no training text");
  return {std::move(tokenizer), std::move(train), std::move(held_out)};
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

std::string tokenizer_digest(const Tokenizer& tokenizer) { return sha256(model::tokenizer_definition(tokenizer)); }

void encode_texts(Files& files, const std::vector<std::string>& paths, const Tokenizer& tokenizer, TokenFileWriter& into) {
  encode_split(files, paths, tokenizer, 0, into, nullptr);
}

Corpus prepare_corpus(Files& files, const CorpusOptions& options, parallel::Collectives& collectives) {
  try {
    return shared_corpus(files, options, collectives);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kExhausted || std::string_view(error.what()).find(kNameless) == std::string_view::npos) throw;
    throw Error(ErrorKind::kExhausted, "{}. The tokens lie in {}: make room there, or set TMPDIR to another folder", error.what(),
                std::filesystem::temp_directory_path().string());
  }
}

}  // namespace athanor::llm
