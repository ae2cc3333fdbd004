// Adapters put into the weights of their model: what needs no adapters any more.
#include <optional>

#include "engine/cli/commands.h"
#include "engine/cli/console.h"
#include "engine/cli/loaded_model.h"
#include "engine/cli/own_place.h"
#include "engine/cli/weight_type.h"
#include "engine/model/adapter_files.h"
#include "engine/model/huggingface.h"
#include "engine/model/tokenizer/tokenizer_files.h"
#include "engine/tensor/available_memory.h"

namespace athanor::llm {

int merge(const MergeCommand& command) {
  const model::WeightType type = weight_type_of(command.dtype);
  check_own_place(command.out, "the model's", command.model);
  check_own_place(command.out, "the adapters'", command.adapter);
  SystemFiles system;
  Files& files = system;
  check_new_place(files, command.out);
  auto source = model::open_merged(files, model::open_model(files, command.model), command.adapter);
  const std::optional<model::Tokenizer> tokenizer = own_tokenizer(files, source->format(), command.model);
  const model::HuggingFaceModel& description = source->model();
  tensor::MemoryPlan plan;
  model::Parameters parameters(description.config, {}, plan);
  plan.allocate(tensor::available_memory_bytes(),
                "Merging holds the whole model in float32: do it where there is more memory");
  source->load(parameters);
  files.make_folders(command.out);
  if (tokenizer) model::save_tokenizer(files, command.out, *tokenizer, description.config.max_position_embeddings);
  model::save_huggingface(files, command.out, description, parameters, {.type = type});
  print(fmt::format("{} and the adapters of {} are one model in {}\n", command.model, command.adapter, command.out));
  return 0;
}

}  // namespace athanor::llm
