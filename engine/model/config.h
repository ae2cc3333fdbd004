// The shape of a Llama-style decoder, in the words of a Hugging Face config.json.
//
// The families that we build differ in few things:
//   Llama, SmolLM2   the plain decoder; Llama 3.x scales its RoPE
//   Mistral          a sliding window
//   Qwen2            biases on queries, keys and values; perhaps a window in its upper layers
//   Qwen3            a norm on each head of queries and keys; perhaps a window
#pragma once

#include <cstdint>
#include <vector>

#include "engine/tensor/rope.h"

namespace athanor::model {

enum class Family : std::uint8_t { kLlama, kMistral, kQwen2, kQwen3 };

struct Config {
  std::int64_t vocab_size = 0;               // V
  std::int64_t hidden_size = 0;              // C
  std::int64_t intermediate_size = 0;        // F
  std::int64_t num_hidden_layers = 0;        // L
  std::int64_t num_attention_heads = 0;      // H
  std::int64_t num_key_value_heads = 0;      // G, divides H
  std::int64_t head_dim = 0;                 // D, even
  std::int64_t max_position_embeddings = 0;  // the longest sequence that it is meant for
  double rms_norm_eps = 1e-5;
  double rope_theta = 10000;
  bool tie_word_embeddings = true;
  double initializer_range = 0.02;
  Family family = Family::kLlama;
  tensor::RopeScaling rope_scaling;
  std::int64_t sliding_window = 0;   // tokens that one sees, itself included; 0: all before it
  std::vector<bool> sliding_layers;  // (L), which layers have the window; empty: all

  bool qkv_bias() const { return family == Family::kQwen2; }
  bool qk_norm() const { return family == Family::kQwen3; }
  // The window of a layer; 0: none.
  std::int64_t window(std::int64_t layer) const {
    return sliding_layers.empty() || sliding_layers[static_cast<std::size_t>(layer)] ? sliding_window : 0;
  }

  bool operator==(const Config&) const = default;
};

// Throws kInvalid, naming the field, when it does not describe a decoder that we can build.
void check(const Config& config);

// All parameters, a tied head counted once.
std::int64_t parameter_count(const Config& config);

// Floating-point operations to train on one token of a sequence, without what is computed again.
struct TrainingFlops {
  double products =
      0;  // 6 a weight of every matrix product (the embedding is none); where it is frozen 4, and 6 an adapter's
  double attention = 0;  // its products, with the causal half counted as half, and what a window hides as none
  double all() const { return products + attention; }
};
// `length`: of the sequence. `adapter_parameters` above 0: those are trained, and the model is frozen.
TrainingFlops training_flops_per_token(const Config& config, std::int64_t length, std::int64_t adapter_parameters = 0);

}  // namespace athanor::model
