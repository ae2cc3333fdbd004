#include "engine/model/gguf_model.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "common/error.h"

namespace athanor::model {

namespace {

using tensor::RopeScaling;

template <typename... Args>
[[noreturn]] void refuse(const GgufFile& file, fmt::format_string<Args...> why, Args&&... args) {
  throw Error(ErrorKind::kInvalid, "{} holds a model that cannot be used: {}", file.path(),
              fmt::format(why, std::forward<Args>(args)...));
}

Family find_family(const GgufFile& file, const std::string& architecture) {
  if (architecture == "llama") return Family::kLlama;
  if (architecture == "qwen2") return Family::kQwen2;
  if (architecture == "qwen3") return Family::kQwen3;
  refuse(file, "its architecture is \"{}\"; \"llama\", \"qwen2\" and \"qwen3\" are supported", architecture);
}

// GGUF's name of a tensor that Hugging Face calls `name`.
std::string gguf_name(std::string_view name) {
  static const std::map<std::string_view, std::string_view> kOuter{{"model.embed_tokens.weight", "token_embd.weight"},
                                                                   {"model.norm.weight", "output_norm.weight"},
                                                                   {"lm_head.weight", "output.weight"}};
  static const std::map<std::string_view, std::string_view> kInner{{"input_layernorm", "attn_norm"},
                                                                   {"self_attn.q_proj", "attn_q"},
                                                                   {"self_attn.k_proj", "attn_k"},
                                                                   {"self_attn.v_proj", "attn_v"},
                                                                   {"self_attn.q_norm", "attn_q_norm"},
                                                                   {"self_attn.k_norm", "attn_k_norm"},
                                                                   {"self_attn.o_proj", "attn_output"},
                                                                   {"post_attention_layernorm", "ffn_norm"},
                                                                   {"mlp.gate_proj", "ffn_gate"},
                                                                   {"mlp.up_proj", "ffn_up"},
                                                                   {"mlp.down_proj", "ffn_down"}};
  if (const auto outer = kOuter.find(name); outer != kOuter.end()) return std::string(outer->second);
  constexpr std::string_view kLayers = "model.layers.";
  ATHANOR_ASSERT(name.starts_with(kLayers));
  name.remove_prefix(kLayers.size());
  const auto dot = name.find('.'), last = name.rfind('.');
  return fmt::format("blk.{}.{}{}", name.substr(0, dot), kInner.at(name.substr(dot + 1, last - dot - 1)),
                     name.substr(last));
}

// Llama 3's scaling is a tensor of what each frequency is divided by. Which numbers it was made from follows from it, if
// it was made from Llama 3's usual ones.
void read_rope_factors(const GgufFile& file, Config& config) {
  const GgufTensor* tensor = file.find("rope_freqs.weight");
  if (tensor == nullptr) return;
  const std::int64_t half = config.head_dim / 2;
  if (tensor->shape != std::vector<std::int64_t>{half}) {
    refuse(file, "its rope_freqs has {} elements for heads of {}", tensor->shape.back(), config.head_dim);
  }
  std::vector<float> factors(static_cast<std::size_t>(half));
  file.read_floats(*tensor, factors);
  const double factor = *std::ranges::max_element(factors);
  if (factor == 1 && *std::ranges::min_element(factors) == 1) return;
  constexpr double kLlama3Length = 8192;
  const RopeScaling scaling{.kind = RopeScaling::Kind::kLlama3, .factor = factor, .original_length = kLlama3Length};
  const auto plain = tensor::rope_frequencies(config.rope_theta, config.head_dim);
  const auto scaled = tensor::rope_frequencies(config.rope_theta, config.head_dim, scaling);
  for (std::size_t i = 0; i < factors.size(); ++i) {
    if (!(std::abs(plain[i] / scaled[i] - factors[i]) <= 1e-4 * factors[i])) {
      refuse(file,
             "its rope_freqs are not those of Llama 3 (factor {}, 1 to 4, 8192 positions); use the Hugging Face "
             "checkpoint",
             factor);
    }
  }
  config.rope_scaling = scaling;
}

void read_scaling(const GgufFile& file, const std::string& prefix, Config& config) {
  const std::string type = file.get<std::string>(prefix + "rope.scaling.type").value_or("none");
  if (type == "none") return read_rope_factors(file, config);
  RopeScaling& scaling = config.rope_scaling;
  scaling.factor = file.get<double>(prefix + "rope.scaling.factor").value_or(1);
  if (type == "linear") {
    scaling.kind = RopeScaling::Kind::kLinear;
  } else if (type == "yarn") {
    scaling.kind = RopeScaling::Kind::kYarn;
    scaling.original_length = file.get<double>(prefix + "rope.scaling.original_context_length")
                                  .value_or(static_cast<double>(config.max_position_embeddings));
    scaling.attention = scaling.factor > 1 ? 0.1 * std::log(scaling.factor) + 1 : 1;
  } else {
    refuse(file, "its RoPE is scaled by \"{}\"; \"linear\", \"yarn\" and Llama 3's are supported", type);
  }
}

std::optional<TokenId> token(const GgufFile& file, std::string_view key) {
  const auto id = file.get<std::int64_t>(key);
  if (!id || *id < 0 || *id >= Bpe::kIdMax) return std::nullopt;
  return static_cast<TokenId>(*id);
}

class GgufSource final : public ModelSource {
 public:
  explicit GgufSource(const std::string& path) : file_(path), model_(gguf_model(file_)) { check_all(); }

  ModelFormat format() const override { return ModelFormat::kGguf; }
  const HuggingFaceModel& model() const override { return model_; }
  void read(const ParameterInfo& info, std::span<float> into) override {
    file_.read_floats(*file_.find(gguf_name(info.name)), into);
    if (const std::int64_t heads = paired_heads(info)) halves_from_pairs(into, heads, model_.config.head_dim);
  }
  std::optional<StoredTensor> stored(const ParameterInfo& info) const override {
    const GgufTensor& tensor = *file_.find(gguf_name(info.name));
    return StoredTensor{tensor.type, file_.bytes(tensor), paired_heads(info)};
  }

 private:
  std::int64_t paired_heads(const ParameterInfo& info) const {
    if (model_.config.family != Family::kLlama) return 0;
    if (info.name.ends_with("q_proj.weight")) return model_.config.num_attention_heads;
    return info.name.ends_with("k_proj.weight") ? model_.config.num_key_value_heads : 0;
  }

  // Every parameter is there with its shape, and nothing else.
  void check_all() const {
    std::set<std::string, std::less<>> known{"rope_freqs.weight"};
    const ParameterLayout layout(model_.config);
    for (const ParameterInfo& info : layout.all()) {
      const std::string name = gguf_name(info.name);
      const GgufTensor* tensor = file_.find(name);
      if (tensor == nullptr) throw Error(ErrorKind::kCorrupt, "{} lacks the tensor {}", file_.path(), name);
      if (tensor->shape != info.shape) {
        throw Error(ErrorKind::kCorrupt, "{}: {} has the shape ({}), but its metadata make it ({})", file_.path(), name,
                    fmt::join(tensor->shape, ", "), fmt::join(info.shape, ", "));
      }
      known.insert(name);
    }
    for (const GgufTensor& tensor : file_.tensors()) {
      if (!known.contains(tensor.name)) {
        refuse(file_, "it has the tensor {}, for which this decoder has no place", tensor.name);
      }
    }
  }

  const GgufFile file_;
  const HuggingFaceModel model_;
};

}  // namespace

std::unique_ptr<ModelSource> open_gguf(const std::string& path) { return std::make_unique<GgufSource>(path); }

HuggingFaceModel gguf_model(const GgufFile& file) {
  HuggingFaceModel model;
  Config& config = model.config;
  const std::string architecture = file.get<std::string>("general.architecture").value_or("");
  config.family = find_family(file, architecture);
  const std::string prefix = architecture + ".";
  const auto need = [&](const char* name) {
    const auto value = file.get<std::int64_t>(prefix + name);
    if (!value) refuse(file, "it lacks the field {}{}, or it is no whole number", prefix, name);
    return *value;
  };
  if (file.get<std::int64_t>(prefix + "expert_count").value_or(0) > 0) refuse(file, "it is a mixture of experts");
  const GgufTensor* embedding = file.find("token_embd.weight");
  if (embedding == nullptr) throw Error(ErrorKind::kCorrupt, "{} lacks the tensor token_embd.weight", file.path());
  config.vocab_size = embedding->shape.front();
  config.hidden_size = need("embedding_length");
  config.intermediate_size = need("feed_forward_length");
  config.num_hidden_layers = need("block_count");
  config.num_attention_heads = need("attention.head_count");
  config.num_key_value_heads =
      file.get<std::int64_t>(prefix + "attention.head_count_kv").value_or(config.num_attention_heads);
  if (config.num_attention_heads <= 0) refuse(file, "it has no attention heads");
  config.head_dim =
      file.get<std::int64_t>(prefix + "attention.key_length").value_or(config.hidden_size / config.num_attention_heads);
  const std::int64_t turned = file.get<std::int64_t>(prefix + "rope.dimension_count").value_or(config.head_dim);
  const std::int64_t value_dim = file.get<std::int64_t>(prefix + "attention.value_length").value_or(config.head_dim);
  if (turned != config.head_dim || value_dim != config.head_dim) {
    refuse(file, "of heads of {} it turns {} and gives values of {}; all must be the same", config.head_dim, turned,
           value_dim);
  }
  config.max_position_embeddings = need("context_length");
  config.rms_norm_eps = file.get<double>(prefix + "attention.layer_norm_rms_epsilon").value_or(1e-5);
  config.rope_theta = file.get<double>(prefix + "rope.freq_base").value_or(10'000);
  config.tie_word_embeddings = file.find("output.weight") == nullptr;
  if (file.get<std::int64_t>(prefix + "attention.sliding_window").value_or(0) > 0) {
    refuse(file, "it has a sliding window, which is read from Hugging Face checkpoints alone: use that");
  }
  try {
    check(config);
    read_scaling(file, prefix, config);
    check(config);
  } catch (const Error& error) {
    refuse(file, "{}", error.what());
  }
  model.begin_of_text = token(file, "tokenizer.ggml.bos_token_id");
  model.end_of_text = token(file, "tokenizer.ggml.eos_token_id");
  model.padding = token(file, "tokenizer.ggml.padding_token_id");
  return model;
}

GgufTokenizer gguf_tokenizer(const GgufFile& file) {
  const auto get = [&]<typename T>(const char* key, T otherwise) {
    const T* found = file.find_field<T>(std::string("tokenizer.ggml.") + key);
    return found != nullptr ? *found : std::move(otherwise);
  };
  const auto flag = [&](const char* key) -> std::optional<bool> {
    const auto found = file.get<std::int64_t>(std::string("tokenizer.ggml.") + key);
    return found ? std::optional(*found != 0) : std::nullopt;
  };
  const std::vector<double> scores = get("scores", std::vector<double>());
  const std::vector<std::int64_t> types = get("token_type", std::vector<std::int64_t>());
  std::map<std::string, std::string> named_templates;
  if (const auto* names = file.find_field<std::vector<std::string>>("tokenizer.chat_templates")) {
    for (const std::string& name : *names) {
      if (auto text = file.get<std::string>("tokenizer.chat_template." + name)) {
        named_templates.emplace(name, std::move(*text));
      }
    }
  }
  return {.model = get("model", std::string()),
          .pre = get("pre", std::string()),
          .tokens = get("tokens", std::vector<std::string>()),
          .merges = get("merges", std::vector<std::string>()),
          .scores = {scores.begin(), scores.end()},
          .types = {types.begin(), types.end()},
          .bos_token_id = token(file, "tokenizer.ggml.bos_token_id"),
          .eos_token_id = token(file, "tokenizer.ggml.eos_token_id"),
          .unknown_token_id = token(file, "tokenizer.ggml.unknown_token_id"),
          .add_bos_token = flag("add_bos_token"),
          .add_eos_token = flag("add_eos_token"),
          .add_space_prefix = flag("add_space_prefix"),
          .chat_template = file.get<std::string>("tokenizer.chat_template").value_or(""),
          .named_templates = std::move(named_templates)};
}

}  // namespace athanor::model
