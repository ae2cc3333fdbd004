// From JSONL files to documents: each line read, laid out and tokenised.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/files.h"
#include "engine/data/conversation.h"
#include "engine/data/document_file.h"
#include "engine/data/text_cutter.h"

namespace athanor::data {

struct TokenizedCounts {
  std::int64_t lines = 0;
  std::int64_t tokens = 0;
  std::int64_t targets = 0;  // tokens in the loss
};

// Gives a document for each line of `paths`, in order (`group` 1: example.h), or two (2, preference.h: the chosen, then the
// rejected). Throws kInvalid naming file and line for a line that is wrong, that the tokenizer refuses, or that has nothing
// to learn; kInvalid when there are no lines at all.
TokenizedCounts tokenize_examples(Files& files, const std::vector<std::string>& paths, ExampleTokenizer& tokenizer,
                                  std::int64_t group, const DocumentSink& into);
// Appends them to a writer, in its groups.
TokenizedCounts tokenize_examples(Files& files, const std::vector<std::string>& paths, ExampleTokenizer& tokenizer,
                                  DocumentFileWriter& into);

}  // namespace athanor::data
