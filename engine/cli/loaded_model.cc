#include "engine/cli/loaded_model.h"

#include "common/error.h"
#include "engine/model/adapter_files.h"
#include "engine/model/gguf_model.h"
#include "engine/model/tokenizer/tokenizer_files.h"
#include "engine/tensor/available_memory.h"

namespace athanor::llm {

namespace {

model::Tokenizer read_tokenizer(Files& files, model::ModelFormat format, const std::string& path,
                                const std::string& given) {
  if (!given.empty()) return model::load_tokenizer(files, given);
  if (format == model::ModelFormat::kLlama2c) {
    throw Error(ErrorKind::kInvalid,
                "{} is a model of llama2.c, which has no tokenizer in it: give its file with --tokenizer "
                "(tok512.bin, say)",
                path);
  }
  if (format == model::ModelFormat::kHuggingFace) return model::load_tokenizer(files, path);
  return model::Tokenizer(model::tokenizer_parts_from_gguf(model::gguf_tokenizer(model::GgufFile(path))));
}

std::unique_ptr<model::ModelSource> open_source(Files& files, const std::string& path, const std::string& adapter) {
  auto source = model::open_model(files, path);
  return adapter.empty() ? std::move(source) : model::open_merged(files, std::move(source), adapter);
}

}  // namespace

std::optional<model::Tokenizer> own_tokenizer(Files& files, model::ModelFormat format, const std::string& path) {
  if (format == model::ModelFormat::kLlama2c) return {};
  try {
    return read_tokenizer(files, format, path, "");
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kNotFound) throw;
    return {};
  }
}

model::Tokenizer model_tokenizer(Files& files, const model::ModelSource& source, const std::string& path,
                                 const std::string& given) {
  model::Tokenizer tokenizer = read_tokenizer(files, source.format(), path, given);
  if (const std::int64_t known = source.model().config.vocab_size; tokenizer.vocabulary() > known) {
    throw Error(ErrorKind::kInvalid,
                "The tokenizer in {} has {} tokens, and the model {} knows {}: they do not belong together",
                given.empty() ? path : given, tokenizer.vocabulary(), path, known);
  }
  return tokenizer;
}

OpenedModel::OpenedModel(Files& files, const std::string& path, const std::string& tokenizer_path,
                         const std::string& adapter)
    : source(open_source(files, path, adapter)),
      description(source->model()),
      tokenizer(model_tokenizer(files, *source, path, tokenizer_path)) {}

LoadedModel::LoadedModel(Files& files, const std::string& path, const std::string& tokenizer_path,
                         const std::string& adapter)
    : OpenedModel(files, path, tokenizer_path, adapter), parameters(description.config, {}, plan) {}

void LoadedModel::load(const std::string& advice) {
  plan.allocate(tensor::available_memory_bytes(), advice);
  source->load(parameters);
}

}  // namespace athanor::llm
