// For tests: a model that trains in milliseconds.
#pragma once

#include "engine/model/config.h"

namespace athanor::train {

inline model::Config small_config() {
  return {.vocab_size = 50,
          .hidden_size = 16,
          .intermediate_size = 24,
          .num_hidden_layers = 2,
          .num_attention_heads = 2,
          .num_key_value_heads = 1,
          .head_dim = 8,
          .max_position_embeddings = 64};
}

}  // namespace athanor::train
