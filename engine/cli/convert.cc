// Any model that can be read, as a Hugging Face checkpoint.
#include "common/counts.h"
#include "common/error.h"
#include "engine/cli/commands.h"
#include "engine/cli/console.h"
#include "engine/cli/loaded_model.h"
#include "engine/cli/own_place.h"
#include "engine/cli/weight_type.h"
#include "engine/model/huggingface.h"
#include "engine/model/tokenizer/tokenizer_files.h"

namespace athanor::llm {

int convert(const ConvertCommand& command) {
  const model::SaveOptions options{.type = weight_type_of(command.dtype)};
  check_own_place(command.out, "the model's", command.model);
  SystemFiles files;
  for (const char* suffix : {".gguf", ".safetensors", ".bin"}) {
    if (!command.out.ends_with(suffix)) continue;
    throw Error(ErrorKind::kInvalid, "--out {} is named like a file; what is made is a folder, of Hugging Face's form",
                command.out);
  }
  if (const auto found = files.stat(command.out);
      found && found->type == FileInfo::Type::kFolder && !files.list(command.out).empty()) {
    throw Error(ErrorKind::kInvalid, "--out {} is a folder with files in it: name one that is new or empty",
                command.out);
  }
  LoadedModel model(files, command.model, command.tokenizer);
  model.load("Converting needs the whole model as float32");
  model::save_huggingface(files, command.out, model.description, model.parameters, options);
  model::save_tokenizer(files, command.out, model.tokenizer, model.description.config.max_position_embeddings);
  print(fmt::format("{}: {} parameters as {}\n", command.out,
                    format_count(model::parameter_count(model.description.config)), command.dtype));
  return 0;
}

}  // namespace athanor::llm
