// A model opened for use, whatever its files are (model/model_source.h): its shape, its tokenizer, and its weights once the
// memory is planned.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "common/files.h"
#include "engine/model/model_source.h"
#include "engine/model/tokenizer/tokenizer.h"
#include "engine/tensor/memory_plan.h"

namespace athanor::llm {

// The tokenizer that belongs to a model, in its folder or its GGUF file, or the one of the folder or file `given`, if that
// is not empty. Throws kNotFound, kInvalid, also when it is not the model's.
model::Tokenizer model_tokenizer(Files& files, const model::ModelSource& source, const std::string& path,
                                 const std::string& given);
// The one in the folder or the GGUF file of a model of this format; nothing when there is none. Whether it is the model's
// is not asked.
std::optional<model::Tokenizer> own_tokenizer(Files& files, model::ModelFormat format, const std::string& path);

// All but the weights.
struct OpenedModel {
  // Reads what is small. `tokenizer_path`: a folder or file with the tokenizer; empty: the one that belongs to the model,
  // in its folder or its GGUF file. `adapter`: a folder with adapters that are merged into the weights; empty: none. Throws
  // kNotFound, kDenied, kCorrupt, kInvalid, also when the tokenizer is not the model's.
  OpenedModel(Files& files, const std::string& path, const std::string& tokenizer_path,
              const std::string& adapter = {});

  const std::unique_ptr<model::ModelSource> source;
  const model::HuggingFaceModel& description;
  const model::Tokenizer tokenizer;
  tensor::MemoryPlan plan;
};

//   LoadedModel model(files, path, "");  Decoder decoder(context, model.parameters, …, model.plan);  model.load("…");
struct LoadedModel : OpenedModel {
  LoadedModel(Files& files, const std::string& path, const std::string& tokenizer_path,
              const std::string& adapter = {});
  // Allocates the plan and reads the weights, as float32. `advice`: what to do when memory is short.
  void load(const std::string& advice);

  model::Parameters parameters;
};

}  // namespace athanor::llm
