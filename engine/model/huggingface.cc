#include "engine/model/huggingface.h"

#include <cmath>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/json.h"
#include "engine/model/safetensors.h"

namespace athanor::model {

namespace {

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kGeneration = "generation_config.json";
constexpr std::size_t kShardsMax = 10'000;
constexpr float kHalfMax = 65519.0F;  // what is above is rounded to infinity

// All safetensors files of a checkpoint, and which of them has which tensor.
class HuggingFaceSource final : public ModelSource {
 public:
  HuggingFaceSource(Files& files, const std::string& folder, HuggingFaceModel model)
      : folder_(folder), model_(std::move(model)) {
    open_all(files);
    check_all();
  }

  ModelFormat format() const override { return ModelFormat::kHuggingFace; }
  const HuggingFaceModel& model() const override { return model_; }
  void read(const ParameterInfo& info, std::span<float> into) override {
    const auto& [file, entry] = entries_.at(info.name);
    ATHANOR_ASSERT(entry->shape == info.shape);
    file->read_floats(*entry, into);
  }
  std::optional<StoredTensor> stored(const ParameterInfo& info) const override {
    const auto& [file, entry] = entries_.at(info.name);
    static const std::map<std::string_view, GgufType> kTypes{{"F32", GgufType::kF32},
                                                             {"F16", GgufType::kF16},
                                                             {"BF16", GgufType::kBF16}};
    const auto type = kTypes.find(entry->dtype);
    if (type == kTypes.end()) return std::nullopt;
    return StoredTensor{type->second, file->bytes(*entry)};
  }

 private:
  void open_all(Files& files) {
    if (files.stat(folder_ + "/" + kWeights)) {
      open(kWeights);
      return;
    }
    const std::string path = folder_ + "/" + kIndex;
    if (!files.stat(path)) {
      throw Error(ErrorKind::kNotFound,
                  "{} has neither {} nor {}: it is no Hugging Face checkpoint with safetensors (older ones "
                  "become one by model.save_pretrained(FOLDER) in Python)",
                  folder_, kWeights, kIndex);
    }
    const json::value document = json::parse(files.read_all(path), path);
    const json::object* map = document.is_object() ? json::find_object(document.get_object(), "weight_map") : nullptr;
    if (map == nullptr) throw Error(ErrorKind::kCorrupt, "{} has no \"weight_map\"", path);
    std::set<std::string> shards;
    for (const auto& entry : *map) {
      if (!entry.value().is_string()) throw Error(ErrorKind::kCorrupt, "{}: a tensor's file is no text", path);
      const std::string shard(entry.value().get_string());
      if (shard.empty() || shard.find('/') != std::string::npos || shard == "..") {
        throw Error(ErrorKind::kCorrupt, "{} names the file \"{}\", which is not in its folder", path, shard);
      }
      shards.insert(shard);
    }
    if (shards.size() > kShardsMax) throw Error(ErrorKind::kCorrupt, "{} names {} files", path, shards.size());
    for (const std::string& shard : shards) open(shard);
  }

  // Every parameter is there with its shape, and nothing else.
  void check_all() const {
    const ParameterLayout layout(model_.config);
    std::set<std::string_view> known;
    for (const ParameterInfo& info : layout.all()) {
      known.insert(info.name);
      const auto found = entries_.find(info.name);
      if (found == entries_.end()) throw Error(ErrorKind::kCorrupt, "{} lacks the tensor {}", folder_, info.name);
      const SafetensorsEntry& entry = *found->second.second;
      if (entry.shape != info.shape) {
        throw Error(ErrorKind::kCorrupt, "{}: {} has the shape ({}), but config.json makes it ({})", folder_, info.name,
                    fmt::join(entry.shape, ", "), fmt::join(info.shape, ", "));
      }
    }
    for (const auto& [name, where] : entries_) {
      if (known.contains(name) || (model_.config.tie_word_embeddings && name == "lm_head.weight")) continue;
      if (name.ends_with(".rotary_emb.inv_freq")) continue;  // older files keep what config.json says
      throw Error(ErrorKind::kInvalid, "{} has the tensor {}, for which this decoder has no place", folder_, name);
    }
  }

  void open(const std::string& name) {
    files_.push_back(std::make_unique<SafetensorsFile>(folder_ + "/" + name));
    for (const SafetensorsEntry& entry : files_.back()->entries()) {
      entries_[entry.name] = {files_.back().get(), &entry};
    }
  }

  const std::string folder_;
  const HuggingFaceModel model_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, std::pair<const SafetensorsFile*, const SafetensorsEntry*>> entries_;
};

// A tensor's place: which shard.
struct Shards {
  std::vector<std::vector<const ParameterInfo*>> of;
  std::uint64_t bytes = 0;
};

std::uint64_t bytes_of(const ParameterInfo& info, WeightType type) {
  return static_cast<std::uint64_t>(info.count) * (type == WeightType::kFloat32 ? 4 : 2);
}

Shards divide(const ParameterLayout& layout, WeightType type, std::uint64_t shard_bytes_max) {
  Shards shards;
  std::uint64_t filled = 0;
  for (const ParameterInfo& info : layout.all()) {
    const std::uint64_t bytes = bytes_of(info, type);
    if (shards.of.empty() || filled + bytes > shard_bytes_max) {
      shards.of.emplace_back();
      filled = 0;
    }
    shards.of.back().push_back(&info);
    filled += bytes;
    shards.bytes += bytes;
  }
  return shards;
}

bool is_weights(const std::string& name) {
  return name == kWeights || name == kIndex || (name.starts_with("model-") && name.ends_with(".safetensors"));
}

void write_weights(Files& files, const std::string& path, const std::vector<const ParameterInfo*>& tensors,
                   const Parameters& parameters, WeightType type) {
  std::vector<SafetensorsEntry> entries;
  for (const ParameterInfo* info : tensors) {
    entries.push_back({info->name,
                       type == WeightType::kFloat32    ? "F32"
                       : type == WeightType::kBFloat16 ? "BF16"
                                                       : "F16",
                       info->shape});
  }
  SafetensorsWriter writer(files, path, std::move(entries));
  for (const ParameterInfo* info : tensors) {
    const tensor::Tensor values = parameters.layout().view(parameters.values(), *info);
    if (type == WeightType::kBFloat16 && values.type() == tensor::DType::kBFloat16) {
      writer.append(std::string_view(static_cast<const char*>(values.data()), values.bytes()));
      continue;
    }
    std::vector<float> wide;
    if (values.type() == tensor::DType::kBFloat16) wide.assign(values.bfloats().begin(), values.bfloats().end());
    const std::span<const float> numbers = wide.empty() ? std::span<const float>(values.floats()) : wide;
    if (type == WeightType::kFloat32) writer.append(numbers);
    if (type == WeightType::kBFloat16) writer.append_bfloat16(numbers);
    if (type == WeightType::kFloat16) {
      for (const float number : numbers) {
        if (std::isfinite(number) && std::abs(number) > kHalfMax) {
          throw Error(ErrorKind::kInvalid,
                      "{} has the number {}, and float16 ends at 65504: write float32 or bfloat16 instead", info->name,
                      number);
        }
      }
      writer.append_float16(numbers);
    }
  }
  writer.finish();
}

}  // namespace

std::unique_ptr<ModelSource> open_huggingface(Files& files, const std::string& folder) {
  return std::make_unique<HuggingFaceSource>(files, folder, load_huggingface_config(files, folder));
}

HuggingFaceModel load_huggingface_config(Files& files, const std::string& folder) {
  const std::string path = folder + "/config.json";
  if (!files.stat(path)) {
    throw Error(ErrorKind::kNotFound, "{} does not exist: {} is no Hugging Face checkpoint", path, folder);
  }
  HuggingFaceModel model = huggingface_config_from_json(files.read_all(path), path);
  const std::string generation = folder + "/" + kGeneration;
  if (files.stat(generation)) add_generation_config(model, files.read_all(generation), generation);
  return model;
}

void load_huggingface_weights(Files& files, const std::string& folder, Parameters& parameters) {
  HuggingFaceSource(files, folder, {.config = parameters.config(), .end_of_text = {}}).load(parameters);
}

void save_huggingface(Files& files, const std::string& folder, const HuggingFaceModel& model,
                      const Parameters& parameters, const SaveOptions& options) {
  const bool narrow = parameters.type() == tensor::DType::kBFloat16;
  const WeightType type = options.type.value_or(narrow ? WeightType::kBFloat16 : WeightType::kFloat32);
  files.make_folders(folder);
  files.remove(folder + "/config.json");
  for (const std::string& name : files.list(folder)) {
    if (is_weights(name)) files.remove(folder + "/" + name);
  }
  const Shards shards = divide(parameters.layout(), type, options.shard_bytes_max);
  json::object map;
  for (std::size_t i = 0; i < shards.of.size(); ++i) {
    const std::string name =
        shards.of.size() == 1 ? kWeights : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.of.size());
    write_weights(files, folder + "/" + name, shards.of[i], parameters, type);
    for (const ParameterInfo* info : shards.of[i]) map[info->name] = name;
  }
  if (shards.of.size() > 1) {
    const json::object index{{"metadata", {{"total_size", shards.bytes}}}, {"weight_map", std::move(map)}};
    files.replace(folder + "/" + kIndex, json::serialize(index) + "\n");
  }
  files.replace(folder + "/" + kGeneration, generation_config_to_json(model));
  files.replace(folder + "/config.json", huggingface_config_to_json(model, type));
}

}  // namespace athanor::model
