// Tokenizers as Hugging Face's tokenizer.json.
//
// Read are BPEs on bytes (GPT-2, Llama-3, Qwen, SmolLM2) and on characters with byte fallback (Llama-2, Mistral): merges
// as strings or as pairs; the normalizers "NFC" (NFD, NFKC, NFKD), "Prepend" and "Replace"; pre-tokenizers made of
// "ByteLevel", "Split" (isolated), "Digits" and "Metaspace"; added tokens with all their flags; the post-processors
// "TemplateProcessing" and "ByteLevel". What a file asks for beyond that is refused by name, because ignoring it would
// give other tokens. "truncation" and "padding" are the caller's business and are not applied.
#pragma once

#include <string>
#include <string_view>

#include "engine/model/tokenizer/tokenizer.h"

namespace athanor::model {

// The contents of a tokenizer.json. `source` names it in errors. Throws kInvalid.
TokenizerParts tokenizer_parts_from_json(std::string_view json, std::string_view source);
Tokenizer tokenizer_from_json(std::string_view json, std::string_view source);
// The very text that the tokenizer was read from, or one that gives the same tokenizer. Throws kInvalid for a
// sentencepiece model, which has a file of its own kind.
std::string tokenizer_to_json(const Tokenizer& tokenizer);

}  // namespace athanor::model
