// A decoder that goes on from where it stopped: keys and values of all tokens so far stay in a cache, so that a further
// token costs one pass over the weights. For generation; one sequence at a time. One thread.
//
//   MemoryPlan plan;  Parameters parameters(config, {}, plan);
//   CachedDecoder decoder(context, parameters, {.length_max = 1024}, plan);
//   plan.allocate(available_memory_bytes(), "…");  (fill the parameters)
//   auto logits = decoder.step(prompt);  while (…) logits = decoder.step({&token, 1});
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/model/parameters.h"
#include "engine/tensor/context.h"
#include "engine/tensor/memory_plan.h"
#include "engine/tensor/tensor.h"

namespace athanor::model {

struct CachedDecoderSizes {
  std::int64_t length_max = 1;   // tokens in the sequence, prompt included
  std::int64_t chunk_max = 128;  // tokens that go through the layers together; longer prompts go in pieces
};

class CachedDecoder {
 public:
  CachedDecoder(tensor::Context& context, Parameters& parameters, const CachedDecoderSizes& sizes,
                tensor::MemoryPlan& plan);

  // Forgets the sequence.
  void reset() { length_ = 0; }
  std::int64_t length() const { return length_; }
  std::int64_t length_max() const { return sizes_.length_max; }

  // Appends tokens (at least one; length() + tokens.size() ≤ length_max()) and returns the logits (V) after the last.
  // They are good until the next call.
  std::span<const float> step(std::span<const std::int32_t> tokens);

 private:
  void step_chunk(std::span<const std::int32_t> tokens);

  tensor::Context& context_;
  Parameters& parameters_;
  const CachedDecoderSizes sizes_;
  std::int64_t length_ = 0;

  std::vector<const tensor::Tensor*> keys_;    // a layer: (T, G·D)
  std::vector<const tensor::Tensor*> values_;  // a layer: (T, G·D)
  const tensor::Tensor* cos_;                  // (T, D/2)
  const tensor::Tensor* sin_;                  // (T, D/2)
  bool table_filled_ = false;
  const tensor::Tensor* tokens_;    // (N)
  const tensor::Tensor* x_;         // (N, C)
  const tensor::Tensor* normed_;    // (N, C)
  const tensor::Tensor* r_;         // (N)
  const tensor::Tensor* qkv_;       // (N, (H+2G)·D)
  const tensor::Tensor* attended_;  // (N, H·D)
  const tensor::Tensor* delta_;     // (N, C)
  const tensor::Tensor* gate_up_;   // (N, 2F)
  const tensor::Tensor* hidden_;    // (N, F)
  const tensor::Tensor* scores_;    // (threads, T)
  const tensor::Tensor* logits_;    // (1, V)
};

}  // namespace athanor::model
