// Models from GGUF files: the architectures "llama" (Llama, SmolLM2, Mistral without a window), "qwen2" and "qwen3".
//
// The metadata becomes a Config; tensors are read by Hugging Face's names, dequantized, and the query and key matrices of
// "llama" brought back to Hugging Face's layout. Llama 3's scaled RoPE, which GGUF keeps as a tensor of factors, is
// recognised. What the decoder does not have (experts, another scaling) is refused by name.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/model/gguf.h"
#include "engine/model/model_source.h"

namespace athanor::model {

// Throws kNotFound, kDenied, kCorrupt, kInvalid.
std::unique_ptr<ModelSource> open_gguf(const std::string& path);

// `file`'s shape and special tokens. Throws kInvalid.
HuggingFaceModel gguf_model(const GgufFile& file);

// The tokenizer in the file, as it stands there; empty where it has nothing. Ids are places in `tokens`.
struct GgufTokenizer {
  std::string kind;                 // tokenizer.ggml.model: "llama" (sentencepiece), "gpt2" (byte-level BPE), …
  std::string split;                // tokenizer.ggml.pre: "llama-bpe", "qwen2", "smollm", …
  std::vector<std::string> tokens;
  std::vector<double> scores;       // sentencepiece's
  std::vector<std::int64_t> types;  // 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
  std::vector<std::string> merges;  // "LEFT RIGHT"
  std::optional<TokenId> begin_of_text, end_of_text, unknown, padding;
  std::optional<bool> adds_begin, adds_end, adds_space;  // add_bos_token, add_eos_token, add_space_prefix
  std::string chat_template;
};
GgufTokenizer gguf_tokenizer(const GgufFile& file);

}  // namespace athanor::model
