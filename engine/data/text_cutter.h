// A text that is learnt whole, cut into documents that fit into a row: each begins with the token that the one before it
// ended with, so that every token of the text but the first is predicted once.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/data/conversation.h"

namespace athanor::data {

// Takes a document; its runs are good during the call.
using DocumentSink = std::function<void(std::span<const TokenRun> document)>;

// One thread.
class TextCutter {
 public:
  // Documents make at most `length` predictions, 1 or more.
  TextCutter(std::int64_t length, DocumentSink into);

  // The next tokens of the text.
  void append(std::span<const std::int32_t> tokens);
  // The text is at its end, and another may follow. A text of one token predicts nothing and is left out.
  void finish();

 private:
  void give();

  const std::size_t tokens_max_;  // of a document
  const DocumentSink into_;
  TokenRun document_{.tokens = {}, .in_loss = true};
};

}  // namespace athanor::data
