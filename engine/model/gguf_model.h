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
#include "engine/model/tokenizer/tokenizer_gguf.h"

namespace athanor::model {

// Throws kNotFound, kDenied, kCorrupt, kInvalid.
std::unique_ptr<ModelSource> open_gguf(const std::string& path);

// `file`'s shape and special tokens. Throws kInvalid.
HuggingFaceModel gguf_model(const GgufFile& file);

// The tokenizer in the file, as it stands there; empty where it has nothing.
GgufTokenizer gguf_tokenizer(const GgufFile& file);

}  // namespace athanor::model
