// Models from files, whichever they are. open_model() looks at what is there:
//
//   a folder with config.json       a Hugging Face checkpoint with safetensors (huggingface.h)
//   a file that begins with "GGUF"  (gguf_model.h)
//   another file                    llama2.c's, if its header fits its size (llama2c.h)
//
//   auto source = open_model(files, path);                     // small parts are read; tensors are checked against the shape
//   Parameters parameters(source->model().config, …, plan);    plan.allocate(…);
//   source->load(parameters);
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/files.h"
#include "engine/model/gguf_blocks.h"
#include "engine/model/huggingface_config.h"
#include "engine/model/parameters.h"

namespace athanor::model {

enum class ModelFormat { kHuggingFace, kGguf, kLlama2c };

// A tensor as it lies in its file, for who wants to keep it so. Types are GGUF's, whose list has all the others'.
struct StoredTensor {
  GgufType type{};
  std::string_view bytes;  // rows, one after the other
  std::int64_t paired_heads =
      0;  // the rows of so many heads stand in Meta's order, see halves_from_pairs(); 0: in ours
};

// One opened model. One thread.
class ModelSource {
 public:
  virtual ~ModelSource() = default;
  virtual ModelFormat format() const = 0;
  virtual const HuggingFaceModel& model() const = 0;
  // One tensor's elements as float32, whatever the file holds, in Hugging Face's layout. `info` is of a ParameterLayout
  // of model().config. Throws kInvalid for a type that we do not read.
  virtual void read(const ParameterInfo& info, std::span<float> into) = 0;
  // The same as it lies there, good while the source lives; nothing for a type that has no GgufType.
  virtual std::optional<StoredTensor> stored(const ParameterInfo& info) const = 0;
  // All of them. `parameters` were made for model().config.
  void load(Parameters& parameters);
};

// Throws kNotFound, kDenied, kCorrupt, kInvalid: what was found, and what would do.
std::unique_ptr<ModelSource> open_model(Files& files, const std::string& path);

// Meta's layout of a query or key matrix (heads·D, columns), which GGUF and llama2.c keep, has the two elements of a pair
// that RoPE turns beside each other; Hugging Face's has them D/2 apart. Reorders the rows of each head, in place.
void halves_from_pairs(std::span<float> matrix, std::int64_t heads, std::int64_t head_dim);

}  // namespace athanor::model
