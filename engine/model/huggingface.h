// Models as Hugging Face checkpoints: a folder with config.json, generation_config.json and model.safetensors (or
// shards with model.safetensors.index.json), as `transformers` writes and loads them. The tokenizer beside it is
// tokenizer/tokenizer_files.h's.
//
// What is not this decoder is refused by name: a config (huggingface_config.h), and a tensor that has no place.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "common/files.h"
#include "engine/model/huggingface_config.h"
#include "engine/model/model_source.h"
#include "engine/model/parameters.h"

namespace athanor::model {

// Opens a checkpoint; every tensor's name and shape is checked against its config. Throws kNotFound, kCorrupt, kInvalid.
std::unique_ptr<ModelSource> open_huggingface(Files& files, const std::string& folder);

// FOLDER/config.json and, if there, generation_config.json. Throws kNotFound, kInvalid.
HuggingFaceModel load_huggingface_config(Files& files, const std::string& folder);
// Fills the values of `parameters`, which were made for the folder's config. Throws kNotFound, kCorrupt, kInvalid.
void load_huggingface_weights(Files& files, const std::string& folder, Parameters& parameters);

struct SaveOptions {
  std::optional<WeightType> type;  // none: as the parameters are
  // Larger weights are cut into shards of at most so many bytes, each tensor whole in one.
  std::uint64_t shard_bytes_max = 5'000'000'000;
};

// Writes everything but the tokenizer, config.json last: a folder with a config.json is whole. Weights of another model
// that the folder had are removed.
void save_huggingface(Files& files, const std::string& folder, const HuggingFaceModel& model,
                      const Parameters& parameters, const SaveOptions& options = {});

}  // namespace athanor::model
