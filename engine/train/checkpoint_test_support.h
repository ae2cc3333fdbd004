// What tests of checkpoints share: a state that is easy to tell from another.
#pragma once

#include <cstdint>
#include <vector>

#include "common/crashing_files_test_support.h"
#include "engine/model/parameters.h"
#include "engine/train/checkpoint.h"

namespace athanor::train {

inline model::Config tiny_config() {
  return {.vocab_size = 11,
          .hidden_size = 4,
          .intermediate_size = 6,
          .num_hidden_layers = 1,
          .num_attention_heads = 2,
          .num_key_value_heads = 1,
          .head_dim = 2,
          .max_position_embeddings = 8};
}

// The state of a run whose every number is `value`.
struct State {
  explicit State(float value)
      : layout(tiny_config()), parameters(size(), value), m(size(), value + 0.25F), v(size(), value + 0.5F) {}
  std::size_t size() const { return static_cast<std::size_t>(layout.size()); }
  TrainTensors tensors() {
    const auto view = [this](std::vector<float>& values) { return tensor::Tensor::of(values.data(), {layout.size()}); };
    TrainTensors all;
    all.add(layout, "", view(parameters));
    all.add(layout, "optimizer.m.", view(m));
    all.add(layout, "optimizer.v.", view(v));
    return all;
  }
  void set(float value) {
    parameters.assign(size(), value);
    m.assign(size(), value + 0.25F);
    v.assign(size(), value + 0.5F);
  }
  bool holds(float value) const {
    bool same = true;
    for (const model::ParameterInfo& info : layout.all()) {
      for (std::int64_t i = info.offset; i < info.offset + info.count; ++i) {
        const auto at = static_cast<std::size_t>(i);
        same = same && parameters[at] == value && m[at] == value + 0.25F && v[at] == value + 0.5F;
      }
    }
    return same;
  }
  model::ParameterLayout layout;
  std::vector<float> parameters, m, v;
};

inline TrainInput input() {
  return {.batch = 3,
          .length = 8,
          .seed = UINT64_MAX,
          .text = {.tokenizer = "{}", .tokens = 100, .fingerprint = "f00d", .now = 1700000000}};
}

// Of a run that is `step` steps old.
inline TrainState run_state(std::int64_t step) {
  TrainState state{.step = step,
                   .data_step = step + 5,
                   .tokens_seen = 7 * step,
                   .first_evaluation_loss = 1.5,
                   .skipped_steps = 1,
                   .skipped_in_a_row = 1,
                   .rollbacks = 2};
  for (const double loss : {1.0 / 3, 2.5e-7}) state.losses.add(loss);
  return state;
}

}  // namespace athanor::train
