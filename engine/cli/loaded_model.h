// A Hugging Face checkpoint opened for use: its shape, its tokenizer, and its weights once the memory is planned.
#pragma once

#include <string>

#include "common/files.h"
#include "engine/model/huggingface.h"
#include "engine/model/tokenizer/tokenizer.h"
#include "engine/tensor/memory_plan.h"

namespace athanor::llm {

//   LoadedModel model(files, folder);  CachedDecoder decoder(context, model.parameters, …, model.plan);  model.load("…");
struct LoadedModel {
  // Reads what is small. Throws kNotFound, kInvalid, also when the tokenizer is not the model's.
  LoadedModel(Files& files, const std::string& folder);
  // Allocates the plan and reads the weights. `advice`: what to do when memory is short.
  void load(const std::string& advice);

  Files& files;
  const std::string folder;
  const model::HuggingFaceModel description;
  const model::Tokenizer tokenizer;
  tensor::MemoryPlan plan;
  model::Parameters parameters;
};

}  // namespace athanor::llm
