// From texts to what training reads: a tokenizer and token files. Rank 0 does it and the others are told, so that all
// have the same, and only rank 0 needs to see the texts.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/files.h"
#include "engine/data/token_file.h"
#include "engine/model/tokenizer/tokenizer.h"
#include "engine/parallel/collectives.h"

namespace athanor::llm {

struct CorpusOptions {
  // Each is files or folders of text, or one token file (then with `tokenizer`).
  std::vector<std::string> train;
  std::vector<std::string> held_out;  // may be empty: then the end of the training texts is kept
  double held_out_part = 0.02;
  std::string tokenizer;  // a folder or file (model::load_tokenizer); empty: the next, or one is trained
  std::optional<model::Tokenizer> model_tokenizer;  // of a model whose shape is taken
  std::string kept_tokenizer;                       // the packed one that the run began with; empty: it begins now
  std::int64_t vocabulary = 4096;                   // of one that is trained
};

struct Corpus {
  model::Tokenizer tokenizer;
  std::shared_ptr<const data::TokenFile> train;
  std::shared_ptr<const data::TokenFile> held_out;  // null when there is none
};

// Throws kInvalid, kNotFound, and on other ranks kUnavailable when
// rank 0 fails.
Corpus prepare_corpus(Files& files, const CorpusOptions& options, parallel::Collectives& collectives);

// Learns a byte-level BPE from texts.
model::Tokenizer train_tokenizer(Files& files, const std::vector<std::string>& paths, std::int64_t vocabulary);

// Throws kInvalid when `kept`, which the checkpoints of a run have, is another than `given`, which was read from `path`.
void check_same_tokenizer(const model::Tokenizer& given, const model::Tokenizer& kept, std::string_view path);

// What a token file remembers of its tokenizer.
std::string tokenizer_digest(const model::Tokenizer& tokenizer);

// Writes the tokens of texts, each file ended by the tokenizer's end of text.
void encode_texts(Files& files, const std::vector<std::string>& paths, const model::Tokenizer& tokenizer,
                  data::TokenFileWriter& into);

}  // namespace athanor::llm
