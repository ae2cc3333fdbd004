#include "engine/model/huggingface.h"

#include <map>
#include <memory>
#include <set>
#include <vector>

#include "common/error.h"
#include "common/json.h"
#include "engine/model/safetensors.h"

namespace athanor::model {

namespace {

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr std::size_t kShardsMax = 10'000;

template <typename... Args>
[[noreturn]] void refuse(std::string_view source, fmt::format_string<Args...> why, Args&&... args) {
  throw Error(ErrorKind::kInvalid, "{} describes a model that cannot be used: {}", std::string(source),
              fmt::format(why, std::forward<Args>(args)...));
}

double read_rope_theta(const json::object& config, std::string_view source) {
  double theta = json::find_double(config, "rope_theta").value_or(10'000);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const json::object* rope = json::find_object(config, key);
    if (rope == nullptr) continue;
    const auto type = json::find_string(*rope, "rope_type").value_or(json::find_string(*rope, "type").value_or("default"));
    if (type != "default") refuse(source, "its RoPE is scaled (\"{}\"), which is not supported", type);
    theta = json::find_double(*rope, "rope_theta").value_or(theta);
  }
  return theta;
}

std::optional<TokenId> read_end_of_text(const json::object& config) {
  const json::value* id = config.if_contains("eos_token_id");
  if (id != nullptr && id->is_array() && !id->get_array().empty()) id = &id->get_array().front();
  if (id == nullptr || !id->is_int64() || id->get_int64() < 0 || id->get_int64() >= Bpe::kIdMax) return std::nullopt;
  return static_cast<TokenId>(id->get_int64());
}

// All safetensors files of a checkpoint, and which of them has which tensor.
class Weights {
 public:
  Weights(Files& files, const std::string& folder) : folder_(folder) {
    if (files.stat(folder + "/" + kWeights)) {
      open(kWeights);
      return;
    }
    const std::string path = folder + "/" + kIndex;
    if (!files.stat(path)) {
      throw Error(ErrorKind::kNotFound, "{} has neither {} nor {}: it is no Hugging Face checkpoint with safetensors",
                  folder, kWeights, kIndex);
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

  void read(const ParameterInfo& info, const tensor::Tensor& into) {
    const auto found = entries_.find(info.name);
    if (found == entries_.end()) {
      throw Error(ErrorKind::kCorrupt, "{} lacks the tensor {}", folder_, info.name);
    }
    const auto& [file, entry] = found->second;
    if (entry->shape != info.shape) {
      throw Error(ErrorKind::kCorrupt, "{}: {} has the shape ({}), but config.json makes it ({})", folder_, info.name,
                  fmt::join(entry->shape, ", "), fmt::join(info.shape, ", "));
    }
    file->read_floats(*entry, into.floats());
    entries_.erase(found);
  }

  // What nobody has read.
  void check_rest(bool tied) const {
    for (const auto& [name, where] : entries_) {
      if (tied && name == "lm_head.weight") continue;
      if (name.ends_with(".rotary_emb.inv_freq")) continue;  // older files keep what config.json says
      throw Error(ErrorKind::kInvalid, "{} has the tensor {}, for which this decoder has no place", folder_, name);
    }
  }

 private:
  void open(const std::string& name) {
    files_.push_back(std::make_unique<SafetensorsFile>(folder_ + "/" + name));
    for (const SafetensorsEntry& entry : files_.back()->entries()) {
      entries_[entry.name] = {files_.back().get(), &entry};
    }
  }

  const std::string folder_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, std::pair<const SafetensorsFile*, const SafetensorsEntry*>> entries_;
};

}  // namespace

HuggingFaceModel huggingface_config_from_json(std::string_view text, std::string_view source) {
  const json::value document = json::parse(text, source);
  if (!document.is_object()) refuse(source, "it is no JSON object");
  const json::object& from = document.get_object();
  const std::string type = json::find_string(from, "model_type").value_or("");
  if (type != "llama") refuse(source, "its model_type is \"{}\"; \"llama\" is supported", type);
  const std::string activation = json::find_string(from, "hidden_act").value_or("silu");
  if (activation != "silu") refuse(source, "its hidden_act is \"{}\"; \"silu\" is supported", activation);
  for (const char* bias : {"attention_bias", "mlp_bias"}) {
    if (json::find_bool(from, bias).value_or(false)) refuse(source, "it has {}, which is not supported", bias);
  }

  HuggingFaceModel model;
  Config& config = model.config;
  const Config usual;
  config.vocab_size = json::get_int(from, "vocab_size");
  config.hidden_size = json::get_int(from, "hidden_size");
  config.intermediate_size = json::get_int(from, "intermediate_size");
  config.num_hidden_layers = json::get_int(from, "num_hidden_layers");
  config.num_attention_heads = json::get_int(from, "num_attention_heads");
  config.num_key_value_heads = json::find_int(from, "num_key_value_heads").value_or(config.num_attention_heads);
  if (config.num_attention_heads <= 0) refuse(source, "it has no attention heads");
  config.head_dim = json::find_int(from, "head_dim").value_or(config.hidden_size / config.num_attention_heads);
  config.max_position_embeddings = json::find_int(from, "max_position_embeddings").value_or(2048);
  config.rms_norm_eps = json::find_double(from, "rms_norm_eps").value_or(1e-6);
  config.rope_theta = read_rope_theta(from, source);
  config.tie_word_embeddings = json::find_bool(from, "tie_word_embeddings").value_or(false);
  config.initializer_range = json::find_double(from, "initializer_range").value_or(usual.initializer_range);
  try {
    check(config);
  } catch (const Error& error) {
    refuse(source, "{}", error.what());
  }
  model.end_of_text = read_end_of_text(from);
  return model;
}

std::string huggingface_config_to_json(const HuggingFaceModel& model) {
  const Config& config = model.config;
  json::object to{{"architectures", {"LlamaForCausalLM"}},
                  {"model_type", "llama"},
                  {"vocab_size", config.vocab_size},
                  {"hidden_size", config.hidden_size},
                  {"intermediate_size", config.intermediate_size},
                  {"num_hidden_layers", config.num_hidden_layers},
                  {"num_attention_heads", config.num_attention_heads},
                  {"num_key_value_heads", config.num_key_value_heads},
                  {"head_dim", config.head_dim},
                  {"max_position_embeddings", config.max_position_embeddings},
                  {"hidden_act", "silu"},
                  {"attention_bias", false},
                  {"attention_dropout", 0.0},
                  {"mlp_bias", false},
                  {"rms_norm_eps", config.rms_norm_eps},
                  {"rope_theta", config.rope_theta},
                  {"rope_scaling", nullptr},
                  {"tie_word_embeddings", config.tie_word_embeddings},
                  {"initializer_range", config.initializer_range},
                  {"torch_dtype", "float32"},
                  {"use_cache", true},
                  {"bos_token_id", nullptr},
                  {"eos_token_id", nullptr}};
  if (model.end_of_text) to["bos_token_id"] = to["eos_token_id"] = *model.end_of_text;
  // A field a line, for people.
  std::string text = "{";
  const char* separator = "\n";
  for (const auto& field : to) {
    text += separator;
    text += "  " + json::serialize(json::value(field.key())) + ": " + json::serialize(field.value());
    separator = ",\n";
  }
  return text + "\n}\n";
}

HuggingFaceModel load_huggingface_config(Files& files, const std::string& folder) {
  const std::string path = folder + "/config.json";
  if (!files.stat(path)) {
    throw Error(ErrorKind::kNotFound, "{} does not exist: {} is no Hugging Face checkpoint", path, folder);
  }
  return huggingface_config_from_json(files.read_all(path), path);
}

void load_huggingface_weights(Files& files, const std::string& folder, const Parameters& parameters) {
  Weights weights(files, folder);
  for (const ParameterInfo& info : parameters.layout().all()) {
    weights.read(info, parameters.layout().view(parameters.values(), info));
  }
  weights.check_rest(parameters.config().tie_word_embeddings);
}

void save_huggingface(Files& files, const std::string& folder, const HuggingFaceModel& model,
                      const Parameters& parameters) {
  files.make_folders(folder);
  std::vector<SafetensorsEntry> entries;
  for (const ParameterInfo& info : parameters.layout().all()) entries.push_back({info.name, "F32", info.shape});
  SafetensorsWriter writer(files, folder + "/" + kWeights, std::move(entries));
  for (const ParameterInfo& info : parameters.layout().all()) {
    writer.append(std::span<const float>(parameters.layout().view(parameters.values(), info).floats()));
  }
  writer.finish();
  json::object generation{{"do_sample", true}, {"temperature", 0.8}, {"top_k", 50}};
  if (model.end_of_text) {
    generation["bos_token_id"] = generation["eos_token_id"] = generation["pad_token_id"] = *model.end_of_text;
  }
  files.replace(folder + "/generation_config.json", json::serialize(generation) + "\n");
  files.replace(folder + "/config.json", huggingface_config_to_json(model));
}

}  // namespace athanor::model
