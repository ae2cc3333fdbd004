#include "engine/model/llama2c.h"

#include <array>
#include <cstring>
#include <map>

#include "common/error.h"
#include "common/mapped_file.h"

namespace athanor::model {

namespace {

using Header = std::array<std::int32_t, 7>;

// A kind of tensor in the order of the file: so many elements a layer, or in all.
struct Kind {
  std::string_view name;  // Hugging Face's, of the layer's part
  std::int64_t count;
  bool per_layer;
};

std::array<Kind, 14> kinds_of(const Config& c) {
  const std::int64_t q = c.num_attention_heads * c.head_dim, k = c.num_key_value_heads * c.head_dim;
  const std::int64_t C = c.hidden_size, F = c.intermediate_size, table = c.max_position_embeddings * (c.head_dim / 2);
  return {{{"model.embed_tokens.weight", c.vocab_size * C, false},
           {"input_layernorm.weight", C, true},
           {"self_attn.q_proj.weight", q * C, true},
           {"self_attn.k_proj.weight", k * C, true},
           {"self_attn.v_proj.weight", k * C, true},
           {"self_attn.o_proj.weight", C * q, true},
           {"post_attention_layernorm.weight", C, true},
           {"mlp.gate_proj.weight", F * C, true},
           {"mlp.down_proj.weight", C * F, true},
           {"mlp.up_proj.weight", F * C, true},
           {"model.norm.weight", C, false},
           {"", table, false},
           {"", table, false},
           {"lm_head.weight", c.tie_word_embeddings ? 0 : c.vocab_size * C, false}}};
}

class Llama2cSource final : public ModelSource {
 public:
  explicit Llama2cSource(const std::string& path)
      : mapped_(path),
        model_{.config = llama2c_config(mapped_.bytes(), mapped_.bytes().size(), path),
               .end_of_text = kBoundary,
               .begin_of_text = kBoundary} {
    std::size_t at = sizeof(Header);
    for (const Kind& kind : kinds_of(model_.config)) {
      const auto bytes = static_cast<std::size_t>(kind.count) * sizeof(float);
      const std::int64_t layers = kind.per_layer ? model_.config.num_hidden_layers : 1;
      for (std::int64_t l = 0; l < layers; ++l, at += bytes) {
        places_[kind.per_layer ? fmt::format("model.layers.{}.{}", l, kind.name) : std::string(kind.name)] = at;
      }
    }
    ATHANOR_ASSERT(at == mapped_.bytes().size());
  }

  ModelFormat format() const override { return ModelFormat::kLlama2c; }
  const HuggingFaceModel& model() const override { return model_; }
  void read(const ParameterInfo& info, std::span<float> into) override {
    const StoredTensor found = *stored(info);
    std::memcpy(into.data(), found.bytes.data(), into.size_bytes());
    if (found.paired_heads > 0) halves_from_pairs(into, found.paired_heads, model_.config.head_dim);
  }
  std::optional<StoredTensor> stored(const ParameterInfo& info) const override {
    const auto bytes = static_cast<std::size_t>(info.count) * sizeof(float);
    const bool q = info.name.ends_with("q_proj.weight"), k = info.name.ends_with("k_proj.weight");
    return StoredTensor{GgufType::kF32, mapped_.bytes().substr(places_.at(info.name), bytes),
                        q   ? model_.config.num_attention_heads
                        : k ? model_.config.num_key_value_heads
                            : 0};
  }

 private:
  // Its trainer puts sentencepiece's <s> before every text, and so its programs end one where they meet it.
  static constexpr TokenId kBoundary = 1;

  const MappedFile mapped_;
  const HuggingFaceModel model_;
  std::map<std::string, std::size_t> places_;
};

}  // namespace

std::unique_ptr<ModelSource> open_llama2c(const std::string& path) { return std::make_unique<Llama2cSource>(path); }

Config llama2c_config(std::string_view start, std::uint64_t file_bytes, std::string_view source) {
  const auto refuse = [&](const std::string& why) -> Error {
    return {ErrorKind::kInvalid,
            "{} is no model that can be read: it begins like no GGUF file, and as one of llama2.c {}; what would "
            "do: a folder with config.json and safetensors, a .gguf file, or a .bin file of llama2.c (version 0)",
            std::string(source), why};
  };
  Header header{};
  if (start.size() < sizeof header || file_bytes < sizeof header) throw refuse("it ends within its header");
  std::memcpy(header.data(), start.data(), sizeof header);
  Config config;
  config.hidden_size = header[0];
  config.intermediate_size = header[1];
  config.num_hidden_layers = header[2];
  config.num_attention_heads = header[3];
  config.num_key_value_heads = header[4];
  config.vocab_size = std::abs(static_cast<std::int64_t>(header[5]));
  config.tie_word_embeddings = header[5] > 0;
  config.max_position_embeddings = header[6];
  if (header[3] <= 0 || header[0] % header[3] != 0) {
    throw refuse(fmt::format("its {} heads do not divide its hidden size of {}", header[3], header[0]));
  }
  config.head_dim = config.hidden_size / config.num_attention_heads;
  try {
    check(config);
  } catch (const Error& error) {
    throw refuse(fmt::format("it makes no sense ({})", error.what()));
  }
  // Sizes up to 2^24 each: their products fit 64 bits, but not the products' sum over all layers.
  unsigned __int128 expected = sizeof header;
  for (const Kind& kind : kinds_of(config)) {
    expected += static_cast<unsigned __int128>(kind.count) * sizeof(float) *
                static_cast<unsigned __int128>(kind.per_layer ? config.num_hidden_layers : 1);
  }
  if (expected != file_bytes) {
    throw refuse(fmt::format("its header makes it {} bytes, but it has {}: it was cut off, or is something else",
                             expected > UINT64_MAX ? std::string("too many")
                                                   : std::to_string(static_cast<std::uint64_t>(expected)),
                             file_bytes));
  }
  return config;
}

}  // namespace athanor::model
