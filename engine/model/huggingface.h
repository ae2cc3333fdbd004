// Models as Hugging Face checkpoints: a folder with config.json, generation_config.json and model.safetensors (or
// shards with model.safetensors.index.json), as `transformers` writes and loads them. The tokenizer beside it is
// tokenizer/tokenizer_files.h's.
//
// Loaded are Llama-style decoders ("model_type": "llama"). A config that asks for something that the decoder does not
// have (biases, another activation, scaled RoPE) is refused by name, and so is a tensor that has no place: ignoring
// either would give another model.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/files.h"
#include "engine/model/config.h"
#include "engine/model/parameters.h"
#include "engine/model/tokenizer/tokenizer.h"

namespace athanor::model {

struct HuggingFaceModel {
  Config config;
  std::optional<TokenId> end_of_text;  // eos_token_id; the first when there are several
};

// The contents of a config.json. `source` names it in errors. Throws kInvalid.
HuggingFaceModel huggingface_config_from_json(std::string_view text, std::string_view source);
std::string huggingface_config_to_json(const HuggingFaceModel& model);

// FOLDER/config.json. Throws kNotFound, kInvalid.
HuggingFaceModel load_huggingface_config(Files& files, const std::string& folder);
// Fills the values of `parameters`, which were made for the folder's config. Throws kNotFound, kCorrupt, kInvalid.
void load_huggingface_weights(Files& files, const std::string& folder, const Parameters& parameters);

// Writes everything but the tokenizer, config.json last: a folder with a config.json is whole.
void save_huggingface(Files& files, const std::string& folder, const HuggingFaceModel& model,
                      const Parameters& parameters);

}  // namespace athanor::model
