#include "engine/cli/loaded_model.h"

#include "common/error.h"
#include "engine/model/tokenizer/tokenizer_files.h"
#include "engine/tensor/available_memory.h"

namespace athanor::llm {

LoadedModel::LoadedModel(Files& from, const std::string& path)
    : files(from),
      folder(path),
      description(model::load_huggingface_config(files, folder)),
      tokenizer(model::load_tokenizer(files, folder)),
      parameters(description.config, false, plan) {
  if (tokenizer.vocabulary() > description.config.vocab_size) {
    throw Error(ErrorKind::kInvalid, "The tokenizer in {} has {} tokens, and the model beside it knows {}: they do not belong together",
                folder, tokenizer.vocabulary(), description.config.vocab_size);
  }
}

void LoadedModel::load(const std::string& advice) {
  plan.allocate(tensor::available_memory_bytes(), advice);
  model::load_huggingface_weights(files, folder, parameters);
}

}  // namespace athanor::llm
