#include "engine/model/config.h"

#include <cmath>
#include <string_view>
#include <utility>

#include "common/counts.h"
#include "common/error.h"

namespace athanor::model {

namespace {

constexpr std::int64_t kMax = 1 << 24;        // of a size; keeps every product of two within 64 bits
constexpr std::int64_t kLayersMax = 1 << 12;  // twenty times what anybody has trained
constexpr double kParametersMax =
    1ULL << 44;  // their bytes, and those of gradients and moments, are numbers of 64 bits

// As parameter_count(), for shapes whose count may be no number of 64 bits.
double rough_parameter_count(const Config& c) {
  const auto C = static_cast<double>(c.hidden_size), D = static_cast<double>(c.head_dim);
  const auto heads = static_cast<double>(c.num_attention_heads + c.num_key_value_heads);
  return C * static_cast<double>(c.vocab_size) +
         static_cast<double>(c.num_hidden_layers) * C * (2 * D * heads + 3 * static_cast<double>(c.intermediate_size));
}

void check(const tensor::RopeScaling& scaling, const Config& config) {
  using Kind = tensor::RopeScaling::Kind;
  const auto require = [](bool holds, std::string_view name, double value, std::string_view must) {
    if (!holds) {
      throw Error(ErrorKind::kInvalid, "The model's RoPE scaling has the {} {}; it must {}", name, value, must);
    }
  };
  constexpr double kMost = 1e6;
  if (scaling.kind == Kind::kNone) return;
  require(scaling.factor >= 1 && scaling.factor <= kMost, "factor", scaling.factor, "lie between 1 and 1e6");
  if (scaling.kind == Kind::kLinear) return;
  require(scaling.original_length >= 1 && scaling.original_length <= 1e9 &&
              scaling.original_length == std::floor(scaling.original_length),
          "original_max_position_embeddings", scaling.original_length, "be a whole number, at least 1");
  if (scaling.kind == Kind::kLlama3) {
    require(scaling.low_frequency > 0 && scaling.low_frequency <= kMost, "low_freq_factor", scaling.low_frequency,
            "be positive");
    require(scaling.high_frequency > scaling.low_frequency && scaling.high_frequency <= kMost, "high_freq_factor",
            scaling.high_frequency, "be above low_freq_factor");
    return;
  }
  require(config.rope_theta > 1, "theta", config.rope_theta, "be above 1");
  require(scaling.beta_slow > 0 && scaling.beta_slow <= kMost, "beta_slow", scaling.beta_slow, "be positive");
  require(scaling.beta_fast > scaling.beta_slow && scaling.beta_fast <= kMost, "beta_fast", scaling.beta_fast,
          "be above beta_slow");
  require(scaling.attention > 0 && scaling.attention <= kMost, "attention_factor", scaling.attention, "be positive");
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
    throw Error(
        ErrorKind::kInvalid,
        "The model would have {:.1e} parameters, and the most are {:.1e}: make hidden_size ({}), intermediate_size "
        "({}), the heads ({} of {}) or num_hidden_layers ({}) smaller",
        count, kParametersMax, config.hidden_size, config.intermediate_size, config.num_attention_heads,
        config.head_dim, config.num_hidden_layers);
  }
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    throw Error(ErrorKind::kInvalid,
                "The model's num_attention_heads ({}) must be a multiple of num_key_value_heads ({})",
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
  if (config.sliding_window < 0 || config.sliding_window > kMax) {
    throw Error(ErrorKind::kInvalid, "The model's sliding_window is {}; it must lie between 0 (none) and {}",
                config.sliding_window, kMax);
  }
  if (config.sliding_window > 0 && config.family == Family::kLlama) {
    throw Error(ErrorKind::kInvalid, "The model's sliding_window is {}, but Llamas have none; Mistral and Qwen may",
                config.sliding_window);
  }
  if (!config.sliding_layers.empty() &&
      (config.sliding_window == 0 || config.family == Family::kMistral ||
       config.sliding_layers.size() != static_cast<std::size_t>(config.num_hidden_layers))) {
    throw Error(ErrorKind::kInvalid, "The model says for {} whether its window of {} is theirs; it has {}",
                format_count(std::ssize(config.sliding_layers), "layer"), config.sliding_window,
                format_count(config.num_hidden_layers, "layer"));
  }
  check(config.rope_scaling, config);
}

namespace {

// Weights of a layer's matrix products, one token's multiplications.
std::int64_t layer_weights(const Config& c) {
  const std::int64_t heads = c.num_attention_heads + 2 * c.num_key_value_heads;
  return c.hidden_size * c.head_dim * (heads + c.num_attention_heads) + 3 * c.hidden_size * c.intermediate_size;
}

// By a token on average: causality hides half (the token itself counted as half), a window more.
double keys_seen(std::int64_t length, std::int64_t window) {
  const auto T = static_cast<double>(length);
  if (window == 0 || window >= length) return T / 2;
  const auto W = static_cast<double>(window);
  return W * (1 - W / (2 * T));
}

}  // namespace

std::int64_t parameter_count(const Config& c) {
  const std::int64_t tables = c.tie_word_embeddings ? 1 : 2;
  const std::int64_t biases = c.qkv_bias() ? (c.num_attention_heads + 2 * c.num_key_value_heads) * c.head_dim : 0;
  const std::int64_t gains = 2 * c.hidden_size + (c.qk_norm() ? 2 * c.head_dim : 0);
  return tables * c.vocab_size * c.hidden_size + c.num_hidden_layers * (layer_weights(c) + biases + gains) +
         c.hidden_size;
}

TrainingFlops training_flops_per_token(const Config& c, std::int64_t length, std::int64_t adapter_parameters) {
  const auto weights = static_cast<double>(c.num_hidden_layers * layer_weights(c) + c.vocab_size * c.hidden_size);
  const auto width = static_cast<double>(c.num_attention_heads * c.head_dim);
  // Forward, the input's gradient, the weight's: 2 a weight each.
  TrainingFlops flops{.products =
                          (adapter_parameters > 0 ? 4 : 6) * weights + 6 * static_cast<double>(adapter_parameters)};
  // Two products (scores, values), 2 operations an element of a key or value seen; forward once, backward twice.
  for (std::int64_t l = 0; l < c.num_hidden_layers; ++l) flops.attention += 12 * keys_seen(length, c.window(l)) * width;
  return flops;
}

}  // namespace athanor::model
