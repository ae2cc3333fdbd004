// config.json and generation_config.json of a Hugging Face checkpoint.
//
// Read are the families of config.h ("model_type": "llama", "mistral", "qwen2", "qwen3"). A config that asks for something
// that the decoder does not have (another activation, biases elsewhere, another scaling of RoPE, quantized weights) is
// refused by name: ignoring it would give another model.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/config.h"
#include "engine/model/tokenizer/bpe.h"

namespace athanor::model {

// A model but for its weights.
struct HuggingFaceModel {
  Config config;
  std::optional<TokenId> end_of_text;    // eos_token_id; the first when there are several
  std::vector<TokenId> other_ends = {};  // the others: each ends a text as well
  std::optional<TokenId> begin_of_text = {};
  std::optional<TokenId> padding = {};
  // How its makers advise to generate: a generation_config.json as it was read, or empty.
  std::string generation_config = {};
};

// How weights are written.
enum class WeightType { kFloat32, kBFloat16, kFloat16 };

// The contents of a config.json. `source` names it in errors. Throws kInvalid.
HuggingFaceModel huggingface_config_from_json(std::string_view text, std::string_view source);
// What `transformers` of both its present major versions reads.
std::string huggingface_config_to_json(const HuggingFaceModel& model, WeightType type = WeightType::kFloat32);

// Takes a generation_config.json in: it is kept, and its eos_token_id goes before config.json's. Throws kInvalid.
void add_generation_config(HuggingFaceModel& model, std::string_view text, std::string_view source);
// The model's own, or usual settings; with its special tokens in either case.
std::string generation_config_to_json(const HuggingFaceModel& model);

}  // namespace athanor::model
