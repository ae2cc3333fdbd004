#include "engine/cli/loaded_model.h"

#include "common/error.h"
#include "engine/model/gguf_model.h"
#include "engine/model/tokenizer/tokenizer_files.h"
#include "engine/tensor/available_memory.h"

namespace athanor::llm {

namespace {

model::Tokenizer tokenizer_of(Files& files, model::ModelFormat format, const std::string& path, const std::string& given) {
  if (!given.empty()) return model::load_tokenizer(files, given);
  if (format == model::ModelFormat::kLlama2c) {
    throw Error(ErrorKind::kInvalid, "{} is a model of llama2.c, which has no tokenizer in it: give its file with --tokenizer "
                "(tok512.bin, say)", path);
  }
  if (format == model::ModelFormat::kHuggingFace) return model::load_tokenizer(files, path);
  return model::Tokenizer(model::tokenizer_parts_from_gguf(model::gguf_tokenizer(model::GgufFile(path))));
}

}  // namespace

LoadedModel::LoadedModel(Files& files, const std::string& path, const std::string& tokenizer_path)
    : source(model::open_model(files, path)),
      description(source->model()),
      tokenizer(tokenizer_of(files, source->format(), path, tokenizer_path)),
      parameters(description.config, {}, plan) {
  if (tokenizer.vocabulary() > description.config.vocab_size) {
    throw Error(ErrorKind::kInvalid, "The tokenizer in {} has {} tokens, and the model {} knows {}: they do not belong together",
                tokenizer_path.empty() ? path : tokenizer_path, tokenizer.vocabulary(), path, description.config.vocab_size);
  }
}

void LoadedModel::load(const std::string& advice) {
  plan.allocate(tensor::available_memory_bytes(), advice);
  source->load(parameters);
}

}  // namespace athanor::llm
