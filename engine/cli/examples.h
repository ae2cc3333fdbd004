// From files of examples, or of preferences, to what training reads: documents with a loss flag for each token. Rank 0 does it and the
// others are given the result, as with a corpus (corpus.h).
#pragma once

#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "common/files.h"
#include "engine/data/document_file.h"
#include "engine/model/tokenizer/tokenizer.h"
#include "engine/parallel/collectives.h"

namespace athanor::llm {

struct ExampleOptions {
  // Files and folders. What ends in .jsonl, .ndjson or .json is read line by line (data/example.h), anything else is a text.
  std::vector<std::string> train;
  std::vector<std::string> held_out;  // may be empty: then one in so many of the training examples is kept
  double held_out_part = 0;
  std::int64_t length = 0;  // of a sequence: a text that is longer is cut into several documents
  // Lines are preferences (data/preference.h), two documents each, and texts are refused.
  bool pairs = false;
  std::time_t now = 0;  // what chat templates take for today; rank 0's counts
};

struct Examples {
  std::shared_ptr<const data::DocumentFile> train;
  std::shared_ptr<const data::DocumentFile> held_out;  // null when there is none
  std::int64_t targets = 0;                            // tokens of `train` that are learnt; rank 0's
};

// Throws kInvalid, naming file and line, for what cannot be learnt from; kNotFound, kExhausted; and on other ranks
// kUnavailable when rank 0 fails.
Examples prepare_examples(Files& files, const ExampleOptions& options, const model::Tokenizer& tokenizer,
                          parallel::Collectives& collectives);

}  // namespace athanor::llm
