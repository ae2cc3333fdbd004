#include "engine/model/model_source.h"

#include <algorithm>
#include <vector>

#include "common/error.h"
#include "engine/model/gguf_model.h"
#include "engine/model/huggingface.h"
#include "engine/model/llama2c.h"

namespace athanor::model {

namespace {

constexpr const char* kWhatWouldDo =
    "a folder with config.json and safetensors, a .gguf file, or a .bin file of llama2.c";

bool starts_with(Files& files, const std::string& path, std::string_view magic) {
  std::string start(magic.size(), '\0');
  return files.open(path, Files::Open::kRead, 0)->read_at(0, start) == start.size() && start == magic;
}

[[noreturn]] void refuse_folder(Files& files, const std::string& folder) {
  for (const std::string& name : files.list(folder)) {
    if (name.ends_with(".gguf")) {
      throw Error(ErrorKind::kInvalid, "{} has no config.json; to use the GGUF file in it, name that: {}/{}", folder,
                  folder, name);
    }
  }
  throw Error(ErrorKind::kNotFound, "{} has no config.json and is no model that can be read; what would do: {}", folder,
              kWhatWouldDo);
}

}  // namespace

void ModelSource::load(Parameters& parameters) {
  ATHANOR_ASSERT(parameters.config() == model().config);
  std::vector<float> wide;  // of one tensor, where the parameters are narrow
  for (const ParameterInfo& info : parameters.layout().all()) {
    if (parameters.type() == tensor::DType::kFloat32) {
      read(info, parameters.layout().view(parameters.values(), info).floats());
    } else {
      wide.resize(static_cast<std::size_t>(info.count));
      read(info, wide);
      parameters.set(info, 0, wide);
    }
  }
}

std::unique_ptr<ModelSource> open_model(Files& files, const std::string& path) {
  const std::string target = path.size() > 1 && path.ends_with('/') ? path.substr(0, path.size() - 1) : path;
  bool folder = false;
  try {
    (void)files.list(target);
    folder = true;
  } catch (const Error&) {
    if (!files.stat(target)) {
      throw Error(ErrorKind::kNotFound, "{} does not exist; a model is {}", path, kWhatWouldDo);
    }
  }
  if (folder) {
    if (!files.stat(target + "/config.json")) refuse_folder(files, target);
    return open_huggingface(files, target);
  }
  if (starts_with(files, target, "GGUF")) return open_gguf(target);
  if (target.ends_with(".safetensors") || target.ends_with(".json")) {
    throw Error(ErrorKind::kInvalid, "{} is a part of a Hugging Face checkpoint: name its folder", path);
  }
  // Zip archives and pickles: PyTorch's own format.
  if (starts_with(files, target, "PK\x03\x04") || starts_with(files, target, "\x80\x02")) {
    throw Error(ErrorKind::kInvalid,
                "{} is a file of PyTorch's, which can hold code and is not read; save the model as safetensors "
                "(model.save_pretrained(FOLDER) in Python) and name the folder",
                path);
  }
  return open_llama2c(target);
}

void halves_from_pairs(std::span<float> matrix, std::int64_t heads, std::int64_t head_dim) {
  const auto D = static_cast<std::size_t>(head_dim);
  const std::size_t rows = static_cast<std::size_t>(heads) * D;
  ATHANOR_ASSERT(rows > 0 && D % 2 == 0 && matrix.size() % rows == 0);
  const std::size_t columns = matrix.size() / rows;
  std::vector<float> head(D * columns);
  for (std::size_t h = 0; h < static_cast<std::size_t>(heads); ++h) {
    const auto at = matrix.subspan(h * D * columns, D * columns);
    std::ranges::copy(at, head.begin());
    for (std::size_t row = 0; row < D; ++row) {
      const std::size_t to = row / 2 + (row % 2) * (D / 2);
      std::copy_n(head.begin() + static_cast<std::ptrdiff_t>(row * columns), columns,
                  at.begin() + static_cast<std::ptrdiff_t>(to * columns));
    }
  }
}

}  // namespace athanor::model
