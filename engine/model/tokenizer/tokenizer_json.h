// Tokenizers as Hugging Face's tokenizer.json and tokenizer_config.json.
//
// Read are byte-level BPEs: merges as strings or as pairs; a pre-tokenizer made of "ByteLevel", "Split" (by Regex,
// isolated) and "Digits"; added tokens. What such a file asks for beyond that (a normalizer, stripping added tokens,
// byte fallback) is refused by name, because ignoring it would give other tokens. A post-processor is not applied: we
// add no token that the text does not have.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/files.h"
#include "engine/model/tokenizer/tokenizer.h"

namespace athanor::model {

// The contents of a tokenizer.json. `source` names it in errors. Throws kInvalid.
Tokenizer tokenizer_from_json(std::string_view json, std::string_view source);
std::string tokenizer_to_json(const Tokenizer& tokenizer);

// FOLDER/tokenizer.json. Throws kNotFound, kInvalid.
Tokenizer load_tokenizer(Files& files, const std::string& folder);
// FOLDER/tokenizer.json and FOLDER/tokenizer_config.json; `context` is the longest text that the model takes.
void save_tokenizer(Files& files, const std::string& folder, const Tokenizer& tokenizer, std::int64_t context);

}  // namespace athanor::model
