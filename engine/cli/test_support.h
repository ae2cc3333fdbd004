// What the tests of this room share: texts to learn from, and a tokenizer for chats.
#pragma once

#include <string>

#include "engine/model/tokenizer/bpe_trainer.h"
#include "engine/model/tokenizer/tokenizer.h"

namespace athanor::llm {

// Lines of words, the same for the same seed.
inline std::string some_text(std::size_t bytes, unsigned seed = 1) {
  static const char* const kWords[] = {"and",     "the", "light", "darkness", "waters",
                                       "évening", "was", "God",   "saw",      "said"};
  std::string text;
  for (unsigned state = seed; text.size() < bytes;) {
    state = state * 1664525 + 1013904223;
    text += kWords[(state >> 16) % 10];
    text += (state >> 24) % 12 == 0 ? ".\n" : " ";
  }
  return text;
}

inline constexpr const char* kChatTemplate =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

// Learned from some_text(), with the tokens and the template of ChatML.
inline model::Tokenizer chat_tokenizer() {
  model::BpeTrainer trainer(model::PreTokenizer::gpt2());
  trainer.feed(some_text(20'000));
  model::TokenizerParts parts = trainer.train({.vocabulary = 300}).parts();
  parts.added.push_back({.content = "<|im_start|>", .id = 300});
  parts.added.push_back({.content = "<|im_end|>", .id = 301});
  parts.eos = "<|im_end|>";
  parts.chat_template = kChatTemplate;
  return model::Tokenizer(std::move(parts));
}

}  // namespace athanor::llm
