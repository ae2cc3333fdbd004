// Any model that can be read, as a Hugging Face checkpoint.
#include <filesystem>

#include "common/error.h"
#include "engine/cli/commands.h"
#include "engine/cli/console.h"
#include "engine/cli/loaded_model.h"
#include "engine/model/huggingface.h"
#include "engine/model/tokenizer/tokenizer_files.h"

namespace athanor::llm {

namespace {

model::WeightType weight_type(const std::string& name) {
  if (name == "float32") return model::WeightType::kFloat32;
  if (name == "bfloat16") return model::WeightType::kBFloat16;
  if (name == "float16") return model::WeightType::kFloat16;
  throw Error(ErrorKind::kInvalid, "--dtype is {}; it must be float32, bfloat16 or float16", name);
}

}  // namespace

int convert(const ConvertCommand& command) {
  const model::SaveOptions options{.type = weight_type(command.dtype)};
  SystemFiles files;
  LoadedModel model(files, command.model, command.tokenizer);
  std::error_code none;
  if (std::filesystem::equivalent(command.model, command.out, none)) {
    throw Error(ErrorKind::kInvalid, "--out {} is the model itself: name another folder", command.out);
  }
  if (const auto found = files.stat(command.out);
      found && found->type == FileInfo::Type::kFolder && !files.list(command.out).empty()) {
    throw Error(ErrorKind::kInvalid, "--out {} is a folder with files in it: name one that is new or empty",
                command.out);
  }
  model.load("Converting needs the whole model as float32");
  model::save_huggingface(files, command.out, model.description, model.parameters, options);
  model::save_tokenizer(files, command.out, model.tokenizer, model.description.config.max_position_embeddings);
  print(fmt::format("{}: {} parameters as {}\n", command.out,
                    format_count(model::parameter_count(model.description.config)), command.dtype));
  return 0;
}

}  // namespace athanor::llm
