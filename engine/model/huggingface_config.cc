#include "engine/model/huggingface_config.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/counts.h"
#include "common/error.h"
#include "common/json.h"

namespace athanor::model {

namespace {

using tensor::RopeScaling;
using Kind = RopeScaling::Kind;

struct FamilyName {
  Family family;
  std::string_view model_type;
  std::string_view architecture;
};
constexpr FamilyName kFamilies[] = {
    {Family::kLlama, "llama", "LlamaForCausalLM"},
    {Family::kMistral, "mistral", "MistralForCausalLM"},
    {Family::kQwen2, "qwen2", "Qwen2ForCausalLM"},
    {Family::kQwen3, "qwen3", "Qwen3ForCausalLM"},
};

template <typename... Args>
[[noreturn]] void refuse(std::string_view source, fmt::format_string<Args...> why, Args&&... args) {
  throw Error(ErrorKind::kInvalid, "{} describes a model that cannot be used: {}", std::string(source),
              fmt::format(why, std::forward<Args>(args)...));
}

const FamilyName& find_family(const json::object& from, std::string_view source) {
  const std::string type = json::find_string(from, "model_type").value_or("");
  for (const FamilyName& name : kFamilies) {
    if (name.model_type == type) return name;
  }
  refuse(source, "its model_type is \"{}\"; \"llama\", \"mistral\", \"qwen2\" and \"qwen3\" are supported", type);
}

void refuse_what_is_not_there(const json::object& from, std::string_view source) {
  const std::string activation = json::find_string(from, "hidden_act").value_or("silu");
  if (activation != "silu") refuse(source, "its hidden_act is \"{}\"; \"silu\" is supported", activation);
  for (const char* bias : {"attention_bias", "mlp_bias"}) {
    if (json::find_bool(from, bias).value_or(false)) refuse(source, "it has {}, which is not supported", bias);
  }
  if (json::find_object(from, "quantization_config") != nullptr) {
    refuse(source,
           "its weights are quantized (\"quantization_config\"); take the checkpoint that it was made from, or a GGUF "
           "file of it");
  }
  if (json::find_double(from, "partial_rotary_factor").value_or(1) != 1) {
    refuse(source, "it turns only a part of each head (partial_rotary_factor), which is not supported");
  }
}

void read_sizes(const json::object& from, Config& config) {
  config.vocab_size = json::get_int(from, "vocab_size");
  config.hidden_size = json::get_int(from, "hidden_size");
  config.intermediate_size = json::get_int(from, "intermediate_size");
  config.num_hidden_layers = json::get_int(from, "num_hidden_layers");
  config.num_attention_heads = json::get_int(from, "num_attention_heads");
  config.num_key_value_heads = json::find_int(from, "num_key_value_heads").value_or(config.num_attention_heads);
  if (config.num_attention_heads <= 0) throw Error(ErrorKind::kInvalid, "it has no attention heads");
  constexpr std::int64_t kQwen3HeadDim = 128;
  const std::int64_t usual =
      config.family == Family::kQwen3 ? kQwen3HeadDim : config.hidden_size / config.num_attention_heads;
  config.head_dim = json::find_int(from, "head_dim").value_or(usual);
  config.max_position_embeddings = json::find_int(from, "max_position_embeddings").value_or(2048);
  config.rms_norm_eps = json::find_double(from, "rms_norm_eps").value_or(1e-6);
  config.tie_word_embeddings = json::find_bool(from, "tie_word_embeddings").value_or(false);
  config.initializer_range = json::find_double(from, "initializer_range").value_or(Config().initializer_range);
}

// "rope_scaling" beside "rope_theta", or all of it in "rope_parameters".
void read_rope(const json::object& from, std::string_view source, Config& config) {
  config.rope_theta = json::find_double(from, "rope_theta").value_or(10'000);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const json::object* rope = json::find_object(from, key);
    if (rope == nullptr) continue;
    config.rope_theta = json::find_double(*rope, "rope_theta").value_or(config.rope_theta);
    if (json::find_double(*rope, "partial_rotary_factor").value_or(1) != 1) {
      refuse(source, "it turns only a part of each head (partial_rotary_factor), which is not supported");
    }
    const auto type =
        json::find_string(*rope, "rope_type").value_or(json::find_string(*rope, "type").value_or("default"));
    if (type == "default") continue;
    const auto number = [&](const char* name, double otherwise) {
      return json::find_double(*rope, name).value_or(otherwise);
    };
    RopeScaling& scaling = config.rope_scaling;
    scaling.factor = number("factor", 0);
    if (type == "linear") {
      scaling.kind = Kind::kLinear;
      continue;
    }
    scaling.original_length =
        number("original_max_position_embeddings", static_cast<double>(config.max_position_embeddings));
    if (type == "llama3") {
      scaling.kind = Kind::kLlama3;
      scaling.low_frequency = number("low_freq_factor", 0);
      scaling.high_frequency = number("high_freq_factor", 0);
    } else if (type == "yarn") {
      scaling.kind = Kind::kYarn;
      if (!json::find_bool(*rope, "truncate").value_or(true) || number("mscale_all_dim", 0) != 0) {
        refuse(source, "its YaRN has \"truncate\": false or mscale_all_dim, which are not supported");
      }
      if (scaling.factor == 0) {
        scaling.factor = static_cast<double>(config.max_position_embeddings) / scaling.original_length;
      }
      scaling.beta_fast = number("beta_fast", 32);
      scaling.beta_slow = number("beta_slow", 1);
      const double usual = scaling.factor > 1 ? 0.1 * std::log(scaling.factor) + 1 : 1;
      scaling.attention = number("attention_factor", usual);
    } else {
      refuse(source, "its RoPE is scaled by \"{}\"; \"linear\", \"llama3\" and \"yarn\" are supported", type);
    }
  }
}

// Mistral slides everywhere; Qwen where layer_types say so, or else from layer max_window_layers on.
void read_window(const json::object& from, std::string_view source, Config& config) {
  if (config.family == Family::kLlama) return;
  const json::value* window = from.if_contains("sliding_window");
  constexpr std::int64_t kUsual = 4096;  // when the field is absent; null means none
  const std::int64_t tokens = window == nullptr ? kUsual : json::find_int(from, "sliding_window").value_or(0);
  if (config.family == Family::kMistral) {
    config.sliding_window = tokens;
    return;
  }
  std::vector<bool> slides;
  if (const json::array* types = json::find_array(from, "layer_types")) {
    for (const json::value& type : *types) {
      if (type != "full_attention" && type != "sliding_attention") {
        refuse(source, "its layer_types has {}; \"full_attention\" and \"sliding_attention\" are supported",
               json::serialize(type));
      }
      slides.push_back(type == "sliding_attention");
    }
    if (slides.size() != static_cast<std::size_t>(config.num_hidden_layers)) {
      refuse(source, "its layer_types has {} for {}", format_count(std::ssize(slides), "type"),
             format_count(config.num_hidden_layers, "layer"));
    }
  } else {
    const std::int64_t first = json::find_int(from, "max_window_layers").value_or(28);
    for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) slides.push_back(l >= first);
  }
  if (!json::find_bool(from, "use_sliding_window").value_or(false) || tokens == 0) return;
  if (std::ranges::find(slides, true) == slides.end()) return;
  config.sliding_window = tokens;
  if (std::ranges::find(slides, false) != slides.end()) config.sliding_layers = slides;
}

std::optional<TokenId> token_id(const json::value* id) {
  if (id == nullptr || !id->is_int64() || id->get_int64() < 0 || id->get_int64() >= Bpe::kIdMax) return std::nullopt;
  return static_cast<TokenId>(id->get_int64());
}

void read_tokens(const json::object& from, HuggingFaceModel& model) {
  if (const auto id = token_id(from.if_contains("bos_token_id"))) model.begin_of_text = id;
  if (const auto id = token_id(from.if_contains("pad_token_id"))) model.padding = id;
  const json::value* ends = from.if_contains("eos_token_id");
  std::vector<TokenId> found;
  if (ends != nullptr && ends->is_array()) {
    for (const json::value& end : ends->get_array()) {
      if (const auto id = token_id(&end)) found.push_back(*id);
    }
  } else if (const auto id = token_id(ends)) {
    found.push_back(*id);
  }
  if (found.empty()) return;
  model.end_of_text = found.front();
  model.other_ends.assign(found.begin() + 1, found.end());
}

json::value optional_token(const std::optional<TokenId>& id) { return id ? json::value(*id) : json::value(nullptr); }

json::value ends_of(const HuggingFaceModel& model) {
  if (model.other_ends.empty()) return optional_token(model.end_of_text);
  json::array ends{*model.end_of_text};
  ends.insert(ends.end(), model.other_ends.begin(), model.other_ends.end());
  return ends;
}

json::value rope_scaling_to_json(const RopeScaling& scaling) {
  switch (scaling.kind) {
    case Kind::kNone: return nullptr;
    case Kind::kLinear: return json::object{{"rope_type", "linear"}, {"factor", scaling.factor}};
    case Kind::kLlama3:
      return json::object{{"rope_type", "llama3"},
                          {"factor", scaling.factor},
                          {"low_freq_factor", scaling.low_frequency},
                          {"high_freq_factor", scaling.high_frequency},
                          {"original_max_position_embeddings", static_cast<std::int64_t>(scaling.original_length)}};
    case Kind::kYarn:
      return json::object{{"rope_type", "yarn"},
                          {"factor", scaling.factor},
                          {"beta_fast", scaling.beta_fast},
                          {"beta_slow", scaling.beta_slow},
                          {"attention_factor", scaling.attention},
                          {"original_max_position_embeddings", static_cast<std::int64_t>(scaling.original_length)}};
  }
  return nullptr;
}

void write_window(const Config& config, json::object& to) {
  if (config.family == Family::kLlama) return;
  to["sliding_window"] = config.sliding_window > 0 ? json::value(config.sliding_window) : json::value(nullptr);
  if (config.family == Family::kMistral) return;
  to["use_sliding_window"] = config.sliding_window > 0;
  json::array types;
  std::int64_t first = config.num_hidden_layers;
  for (std::int64_t l = config.num_hidden_layers; l-- > 0;) {
    if (config.window(l) > 0) first = l;
  }
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) {
    types.emplace_back(config.window(l) > 0 ? "sliding_attention" : "full_attention");
  }
  to["max_window_layers"] = first;
  to["layer_types"] = std::move(types);
}

// A field a line, for people.
std::string in_lines(const json::object& object) {
  std::string text = "{";
  const char* separator = "\n";
  for (const auto& field : object) {
    text += separator;
    text += "  " + json::serialize(json::value(field.key())) + ": " + json::serialize(field.value());
    separator = ",\n";
  }
  return text + "\n}\n";
}

}  // namespace

HuggingFaceModel huggingface_config_from_json(std::string_view text, std::string_view source) {
  const json::value document = json::parse(text, source);
  if (!document.is_object()) refuse(source, "it is no JSON object");
  const json::object& from = document.get_object();
  HuggingFaceModel model;
  Config& config = model.config;
  config.family = find_family(from, source).family;
  refuse_what_is_not_there(from, source);
  const auto naming_source = [&](const auto& body) {
    try {
      body();
    } catch (const Error& error) {
      refuse(source, "{}", error.what());
    }
  };
  naming_source([&] { read_sizes(from, config); });
  read_rope(from, source, config);
  naming_source([&] { check(config); });
  read_window(from, source, config);
  naming_source([&] { check(config); });
  read_tokens(from, model);
  return model;
}

std::string huggingface_config_to_json(const HuggingFaceModel& model, WeightType type) {
  const Config& config = model.config;
  const FamilyName& family = kFamilies[static_cast<std::size_t>(config.family)];
  ATHANOR_ASSERT(family.family == config.family);
  json::object to{{"architectures", json::array{family.architecture}},
                  {"model_type", family.model_type},
                  {"vocab_size", config.vocab_size},
                  {"hidden_size", config.hidden_size},
                  {"intermediate_size", config.intermediate_size},
                  {"num_hidden_layers", config.num_hidden_layers},
                  {"num_attention_heads", config.num_attention_heads},
                  {"num_key_value_heads", config.num_key_value_heads},
                  {"head_dim", config.head_dim},
                  {"max_position_embeddings", config.max_position_embeddings},
                  {"hidden_act", "silu"},
                  {"attention_dropout", 0.0},
                  {"rms_norm_eps", config.rms_norm_eps},
                  {"rope_theta", config.rope_theta},
                  {"rope_scaling", rope_scaling_to_json(config.rope_scaling)},
                  {"tie_word_embeddings", config.tie_word_embeddings},
                  {"initializer_range", config.initializer_range},
                  {"torch_dtype", type == WeightType::kFloat32    ? "float32"
                                  : type == WeightType::kBFloat16 ? "bfloat16"
                                                                  : "float16"},
                  {"use_cache", true},
                  {"bos_token_id", optional_token(model.begin_of_text)},
                  {"eos_token_id", ends_of(model)},
                  {"pad_token_id", optional_token(model.padding)}};
  if (config.family == Family::kLlama) to["attention_bias"] = to["mlp_bias"] = false;
  if (config.family == Family::kQwen3) to["attention_bias"] = false;
  write_window(config, to);
  return in_lines(to);
}

void add_generation_config(HuggingFaceModel& model, std::string_view text, std::string_view source) {
  const json::value document = json::parse(text, source);
  if (!document.is_object()) throw Error(ErrorKind::kInvalid, "{} is no JSON object", std::string(source));
  model.generation_config = text;
  read_tokens(document.get_object(), model);
}

std::string generation_config_to_json(const HuggingFaceModel& model) {
  json::object to{{"do_sample", true}, {"temperature", 0.8}, {"top_k", 50}};
  if (!model.generation_config.empty()) to = json::parse(model.generation_config, "generation_config.json").as_object();
  const auto set = [&](const char* name, const json::value& id) {
    if (!id.is_null()) to[name] = id;
  };
  set("bos_token_id", optional_token(model.begin_of_text));
  set("eos_token_id", ends_of(model));
  set("pad_token_id", optional_token(model.padding ? model.padding : model.end_of_text));
  return in_lines(to);
}

}  // namespace athanor::model
