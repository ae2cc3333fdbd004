// Adapters as PEFT's: a folder with adapter_config.json and adapter_model.safetensors, whose tensors are named as adapters.h
// names parameters. What PEFT can say and these adapters cannot be (DoRA, biases, other ranks for some layers, layers that
// are replaced whole) is refused by name.
#pragma once

#include <memory>
#include <string>

#include "common/files.h"
#include "engine/model/adapters.h"
#include "engine/model/model_source.h"

namespace athanor::model {

// Writes the folder, adapter_config.json last: a folder that has one is whole. `base` is where the model is that the adapters
// are of; PEFT looks for it there.
void save_adapters(Files& files, const std::string& folder, const Adapters& adapters, const std::string& base);

// FOLDER/adapter_config.json. Throws kNotFound, kCorrupt, kInvalid.
LoraOptions load_adapter_config(Files& files, const std::string& folder);

// `base` with the adapters of a folder in its matrices: W + alpha / rank · B · A, computed in float64 from float32.
// Throws the same, also when they are not of this model.
std::unique_ptr<ModelSource> open_merged(Files& files, std::unique_ptr<ModelSource> base, const std::string& folder);

}  // namespace athanor::model
