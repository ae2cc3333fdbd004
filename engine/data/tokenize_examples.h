// From JSONL files to a document file: each line read, laid out and tokenised.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/files.h"
#include "engine/data/conversation.h"
#include "engine/data/document_file.h"

namespace athanor::data {

struct TokenizedCounts {
  std::int64_t lines = 0;
  std::int64_t tokens = 0;
  std::int64_t targets = 0;  // tokens in the loss
};

// Appends a document for each line of `paths`, in order, to a writer of groups of 1 (example.h) or of 2 (preference.h:
// the chosen, then the rejected). Throws kInvalid naming file and line for a line that is wrong, that the tokenizer
// refuses, or that has nothing to learn; kInvalid when there are no lines at all.
TokenizedCounts tokenize_examples(Files& files, const std::vector<std::string>& paths, ExampleTokenizer& tokenizer,
                                  DocumentFileWriter& into);

}  // namespace athanor::data
