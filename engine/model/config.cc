#include "engine/model/config.h"

#include <string_view>
#include <utility>

#include "common/error.h"

namespace athanor::model {

namespace {

constexpr std::int64_t kMax = 1 << 24;           // of a size; keeps every product of two within 64 bits
constexpr std::int64_t kLayersMax = 1 << 12;     // twenty times what anybody has trained
constexpr double kParametersMax = 1ULL << 44;    // their bytes, and those of gradients and moments, are numbers of 64 bits

// As parameter_count(), for shapes whose count may be no number of 64 bits.
double rough_parameter_count(const Config& c) {
  const auto C = static_cast<double>(c.hidden_size), D = static_cast<double>(c.head_dim);
  const auto heads = static_cast<double>(c.num_attention_heads + c.num_key_value_heads);
  return C * static_cast<double>(c.vocab_size) +
         static_cast<double>(c.num_hidden_layers) * C * (2 * D * heads + 3 * static_cast<double>(c.intermediate_size));
}

}  // namespace

void check(const Config& config) {
  const std::pair<std::string_view, std::int64_t> sizes[] = {
      {"vocab_size", config.vocab_size},
      {"hidden_size", config.hidden_size},
      {"intermediate_size", config.intermediate_size},
      {"num_hidden_layers", config.num_hidden_layers},
      {"num_attention_heads", config.num_attention_heads},
      {"num_key_value_heads", config.num_key_value_heads},
      {"head_dim", config.head_dim},
      {"max_position_embeddings", config.max_position_embeddings},
  };
  for (const auto& [name, value] : sizes) {
    const std::int64_t most = name == "num_hidden_layers" ? kLayersMax : kMax;
    if (value < 1 || value > most) {
      throw Error(ErrorKind::kInvalid, "The model's {} is {}; it must lie between 1 and {}", name, value, most);
    }
  }
  if (const double count = rough_parameter_count(config); count > kParametersMax) {
    throw Error(ErrorKind::kInvalid,
                "The model would have {:.1e} parameters, and the most are {:.1e}: make hidden_size ({}), intermediate_size "
                "({}), the heads ({} of {}) or num_hidden_layers ({}) smaller",
                count, kParametersMax, config.hidden_size, config.intermediate_size, config.num_attention_heads,
                config.head_dim, config.num_hidden_layers);
  }
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    throw Error(ErrorKind::kInvalid, "The model's num_attention_heads ({}) must be a multiple of num_key_value_heads ({})",
                config.num_attention_heads, config.num_key_value_heads);
  }
  if (config.head_dim % 2 != 0) {
    throw Error(ErrorKind::kInvalid, "The model's head_dim is {}; it must be even", config.head_dim);
  }
  if (!(config.rms_norm_eps > 0) || !(config.rope_theta > 0) || !(config.initializer_range > 0)) {
    throw Error(ErrorKind::kInvalid,
                "The model's rms_norm_eps ({}), rope_theta ({}) and initializer_range ({}) must be positive",
                config.rms_norm_eps, config.rope_theta, config.initializer_range);
  }
}

namespace {

// Weights of a layer's matrix products, one token's multiplications.
std::int64_t layer_weights(const Config& c) {
  const std::int64_t heads = c.num_attention_heads + 2 * c.num_key_value_heads;
  return c.hidden_size * c.head_dim * (heads + c.num_attention_heads) + 3 * c.hidden_size * c.intermediate_size;
}

}  // namespace

std::int64_t parameter_count(const Config& c) {
  const std::int64_t tables = c.tie_word_embeddings ? 1 : 2;
  return tables * c.vocab_size * c.hidden_size + c.num_hidden_layers * (layer_weights(c) + 2 * c.hidden_size) +
         c.hidden_size;
}

double training_flops_per_token(const Config& c, std::int64_t length) {
  const auto weights = static_cast<double>(c.num_hidden_layers * layer_weights(c) + c.vocab_size * c.hidden_size);
  const auto width = static_cast<double>(c.num_attention_heads * c.head_dim);
  // Two products (scores, values) of `length` · width, halved by causality; forward once, backward twice.
  const double attention = 6 * static_cast<double>(length) * width * static_cast<double>(c.num_hidden_layers);
  return 6 * weights + attention;
}

}  // namespace athanor::model
