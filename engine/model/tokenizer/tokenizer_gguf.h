// Tokenizers as GGUF files carry them: vectors of metadata, which the reader of such files hands over.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/model/tokenizer/tokenizer.h"

namespace athanor::model {

// The values of the keys below "tokenizer.ggml.", by their names; what a file lacks stays empty.
struct GgufTokenizer {
  std::string model;  // "gpt2" (BPE on bytes) or "llama" (sentencepiece's BPE)
  std::string pre;    // how "gpt2" cuts text: "smollm", "llama-bpe", "qwen2", …
  std::vector<std::string> tokens;
  std::vector<std::string> merges;  // "left right"; for "gpt2"
  std::vector<float> scores;        // for "llama"
  std::vector<std::int32_t> types;  // 1 text, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
  std::optional<std::int64_t> bos_token_id, eos_token_id, unknown_token_id;
  std::optional<bool> add_bos_token, add_eos_token, add_space_prefix;
  std::string chat_template;  // "tokenizer.chat_template"
  std::map<std::string, std::string>
      named_templates;  // "tokenizer.chat_template.NAME", of the NAMEs in "tokenizer.chat_templates"
};

// Throws kInvalid for vectors that do not fit together, another model, or a `pre` that is not known.
TokenizerParts tokenizer_parts_from_gguf(const GgufTokenizer& gguf);

}  // namespace athanor::model
