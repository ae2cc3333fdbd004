#include "engine/model/adapter_files.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/json.h"
#include "engine/model/safetensors.h"

namespace athanor::model {

namespace {

constexpr const char* kConfig = "adapter_config.json";
constexpr const char* kWeights = "adapter_model.safetensors";

bool is_empty(const json::value& value) {
  if (value.is_null() || (value.is_bool() && !value.get_bool())) return true;
  if (value.is_array()) return value.get_array().empty();
  if (value.is_object()) return value.get_object().empty();
  return false;
}

std::array<bool, kLoraTargets> targets_of(const json::object& config, const std::string& path) {
  const json::value* value = config.if_contains("target_modules");
  std::string names;
  if (value && value->is_array()) {
    for (const json::value& name : value->get_array()) {
      if (!name.is_string()) {
        throw Error(ErrorKind::kCorrupt, "{}: \"target_modules\" has something that is no name", path);
      }
      names += std::string(names.empty() ? "" : ",") + std::string(name.get_string());
    }
  } else if (value && value->is_string() && value->get_string() == "all-linear") {
    names = "q,k,v,o,gate,up,down";
  } else {
    throw Error(ErrorKind::kInvalid,
                "{}: \"target_modules\" must be a list of the layers' names (q_proj, …) or \"all-linear\"", path);
  }
  try {
    return lora_targets_from(names);
  } catch (const Error& error) {
    throw Error(error.kind(), "{}: {}", path, error.what());
  }
}

// The file with the adapters' tensors, of exactly the names and shapes that `layout` has.
std::unique_ptr<SafetensorsFile> open_weights(Files& files, const std::string& folder, const Layout& layout) {
  const std::string path = folder + "/" + kWeights;
  if (!files.stat(path)) {
    throw Error(ErrorKind::kNotFound,
                "{} does not exist: {} has no adapters with safetensors (older ones are saved anew by "
                "PEFT's save_pretrained)",
                path, folder);
  }
  auto file = std::make_unique<SafetensorsFile>(path);
  for (const ParameterInfo& info : layout.all()) {
    const SafetensorsEntry* entry = file->find(info.name);
    if (!entry) {
      throw Error(ErrorKind::kCorrupt, "{} lacks the tensor {}: the adapters are of another model, or damaged", path,
                  info.name);
    }
    if (entry->shape == info.shape) continue;
    throw Error(ErrorKind::kInvalid,
                "{}: {} has the shape ({}), and the model with its adapter_config.json makes it ({}): they do "
                "not belong together",
                path, info.name, fmt::join(entry->shape, ", "), fmt::join(info.shape, ", "));
  }
  if (file->entries().size() != layout.all().size()) {
    for (const SafetensorsEntry& entry : file->entries()) {
      bool known = false;
      for (const ParameterInfo& info : layout.all()) known = known || info.name == entry.name;
      if (!known) {
        throw Error(ErrorKind::kInvalid, "{} has the tensor {}, for which the model has no place", path, entry.name);
      }
    }
  }
  return file;
}

class MergedSource final : public ModelSource {
 public:
  MergedSource(Files& files, std::unique_ptr<ModelSource> base, const std::string& folder)
      : base_(std::move(base)),
        options_(load_adapter_config(files, folder)),
        layout_(base_->model().config, options_),
        file_(open_weights(files, folder, layout_)) {}

  ModelFormat format() const override { return base_->format(); }
  const HuggingFaceModel& model() const override { return base_->model(); }
  void read(const ParameterInfo& info, std::span<float> into) override {
    base_->read(info, into);
    const auto [a, b] = adapter_of(info);
    if (!a || !b) return;
    const auto r = static_cast<std::size_t>(options_.rank);
    const auto out = static_cast<std::size_t>(info.shape[0]), in = static_cast<std::size_t>(info.shape[1]);
    std::vector<float> a_floats(r * in), b_floats(out * r);
    file_->read_floats(*a, a_floats);
    file_->read_floats(*b, b_floats);
    const double scale = options_.scale();
    std::vector<double> row(in);
    for (std::size_t o = 0; o < out; ++o) {
      std::ranges::fill(row, 0.0);
      for (std::size_t i = 0; i < r; ++i) {
        const double weight = scale * b_floats[o * r + i];
        for (std::size_t c = 0; c < in; ++c) row[c] += weight * a_floats[i * in + c];
      }
      for (std::size_t c = 0; c < in; ++c) into[o * in + c] = static_cast<float>(into[o * in + c] + row[c]);
    }
  }
  std::optional<StoredTensor> stored(const ParameterInfo& info) const override {
    const auto [a, b] = adapter_of(info);
    if (a && b) return std::nullopt;
    return base_->stored(info);
  }

 private:
  // A and B of a matrix, or nothing: "model.layers.0.mlp.up_proj.weight" has
  // "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight" beside it.
  std::pair<const SafetensorsEntry*, const SafetensorsEntry*> adapter_of(const ParameterInfo& info) const {
    constexpr std::string_view kWeight = ".weight";
    if (!info.name.ends_with(kWeight)) return {};
    const std::string stem = "base_model.model." + info.name.substr(0, info.name.size() - kWeight.size());
    return {file_->find(stem + ".lora_A.weight"), file_->find(stem + ".lora_B.weight")};
  }

  const std::unique_ptr<ModelSource> base_;
  const LoraOptions options_;
  const AdapterLayout layout_;
  const std::unique_ptr<SafetensorsFile> file_;
};

}  // namespace

void save_adapters(Files& files, const std::string& folder, const Adapters& adapters, const std::string& base) {
  files.make_folders(folder);
  files.remove(folder + "/" + kConfig);
  std::vector<SafetensorsEntry> entries;
  for (const ParameterInfo& info : adapters.layout().all()) entries.push_back({info.name, "F32", info.shape});
  SafetensorsWriter writer(files, folder + "/" + kWeights, std::move(entries));
  std::vector<float> numbers;
  for (const ParameterInfo& info : adapters.layout().all()) {
    numbers.resize(static_cast<std::size_t>(info.count));
    adapters.get(info, 0, numbers);
    writer.append(std::span<const float>(numbers));
  }
  writer.finish();
  const LoraOptions& options = adapters.options();
  json::array targets;
  for (int i = 0; i < kLoraTargets; ++i) {
    if (options.targets[static_cast<std::size_t>(i)]) targets.emplace_back(module_of(static_cast<LoraTarget>(i)));
  }
  const json::object config{{"peft_type", "LORA"},
                            {"task_type", "CAUSAL_LM"},
                            {"base_model_name_or_path", base},
                            {"r", options.rank},
                            {"lora_alpha", options.alpha},
                            {"lora_dropout", options.dropout},
                            {"target_modules", std::move(targets)},
                            {"use_rslora", options.rank_stabilized},
                            {"bias", "none"},
                            {"fan_in_fan_out", false},
                            {"init_lora_weights", true},
                            {"inference_mode", true}};
  files.replace(folder + "/" + kConfig, json::serialize(config) + "\n");
}

LoraOptions load_adapter_config(Files& files, const std::string& folder) {
  const std::string path = folder + "/" + kConfig;
  if (!files.stat(path)) {
    throw Error(ErrorKind::kNotFound,
                "{} does not exist: {} has no adapters; a folder that PEFT or a fine-tuning with lora_rank "
                "has written is one",
                path, folder);
  }
  const json::value document = json::parse(files.read_all(path), path);
  if (!document.is_object()) throw Error(ErrorKind::kCorrupt, "{} is no JSON object", path);
  const json::object& config = document.get_object();
  if (json::find_string(config, "peft_type").value_or("") != "LORA") {
    throw Error(ErrorKind::kInvalid, "{} is of adapters of the type \"{}\"; only LORA is known here", path,
                json::find_string(config, "peft_type").value_or(""));
  }
  for (const char* name :
       {"use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "layers_to_transform", "fan_in_fan_out",
        "layer_replication", "exclude_modules", "target_parameters", "trainable_token_indices", "lora_bias"}) {
    const json::value* value = config.if_contains(name);
    if (value && !is_empty(*value)) {
      throw Error(ErrorKind::kInvalid,
                  "{} sets \"{}\", which is not known here; merge the adapters in PEFT (merge_and_unload) and "
                  "use the merged model",
                  path, name);
    }
  }
  if (const std::string bias = json::find_string(config, "bias").value_or("none"); bias != "none") {
    throw Error(ErrorKind::kInvalid, "{} trains biases (\"{}\"), which is not known here; merge the adapters in PEFT",
                path, bias);
  }
  LoraOptions options;
  const double rank = json::find_double(config, "r").value_or(8);
  options.rank = rank >= 1 && rank <= 1e6 ? static_cast<std::int64_t>(rank) : 0;
  options.alpha = json::find_double(config, "lora_alpha").value_or(8);
  options.dropout = json::find_double(config, "lora_dropout").value_or(0);
  options.targets = targets_of(config, path);
  options.rank_stabilized = json::find_bool(config, "use_rslora").value_or(false);
  try {
    check(options);
  } catch (const Error& error) {
    throw Error(error.kind(), "{}: {}", path, error.what());
  }
  return options;
}

std::unique_ptr<ModelSource> open_merged(Files& files, std::unique_ptr<ModelSource> base, const std::string& folder) {
  return std::make_unique<MergedSource>(files, std::move(base), folder);
}

}  // namespace athanor::model
