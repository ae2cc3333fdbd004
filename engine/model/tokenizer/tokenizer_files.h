// Tokenizers as the files of a checkpoint: tokenizer.json or tokenizer.model (sentencepiece) with what stands beside it,
// tokenizer_config.json, special_tokens_map.json, added_tokens.json, chat_template.jinja and additional_chat_templates/; or a
// llama2.c tokenizer.
// Saving gives back the files that were read, byte for byte; a tokenizer that came from elsewhere is written as
// tokenizer.json and tokenizer_config.json.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/files.h"
#include "engine/model/tokenizer/tokenizer.h"

namespace athanor::model {

// From a folder, or from one file: tokenizer.json, a sentencepiece model (.model), a llama2.c tokenizer (.bin). Throws
// kNotFound, kInvalid.
Tokenizer load_tokenizer(Files& files, const std::string& path);
// Into a folder that exists; `context` is the longest text that the model takes, for a tokenizer_config.json that has
// to be made.
void save_tokenizer(Files& files, const std::string& folder, const Tokenizer& tokenizer, std::int64_t context);

// The same without a disk: the files by name ("additional_chat_templates/tool_use.jinja"). `source` names their folder in errors.
// Throws kNotFound, kInvalid.
Tokenizer tokenizer_from_files(TokenizerFiles files, std::string_view source);
TokenizerFiles tokenizer_files(const Tokenizer& tokenizer, std::int64_t context);

// The tokenizer with another chat template in place of all that it has, in its files too.
Tokenizer with_chat_template(const Tokenizer& tokenizer, std::string chat_template);

// What decides about its ids: the contents of its tokenizer.json or tokenizer.model.
std::string tokenizer_definition(const Tokenizer& tokenizer);

// A tokenizer as one run of bytes, to hand to another process: the same tokenizer gives the same bytes. `context` as above;
// 0: not told.
std::string pack_tokenizer(const Tokenizer& tokenizer, std::int64_t context = 0);
// Throws kCorrupt for what is no such run, or has a file that no tokenizer has (its name may lead out of the folder that it is
// saved in); kNotFound, kInvalid.
Tokenizer unpack_tokenizer(std::string_view packed);

}  // namespace athanor::model
