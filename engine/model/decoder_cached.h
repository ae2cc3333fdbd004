// A decoder that goes on from where it stopped: keys and values of all tokens so far stay in a cache, so that a further
// token costs one pass over the weights. For generation. Several sequences share a pass. One thread.
//
//   MemoryPlan plan;  PackedWeights weights(source, plan);
//   CachedDecoder decoder(context, weights, {.length_max = 1024}, plan);
//   plan.allocate(available_memory_bytes(), "…");  weights.load();
//   auto logits = decoder.step(prompt);  while (…) logits = decoder.step({&token, 1});
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/model/decoder_weights.h"
#include "engine/model/parameters.h"
#include "engine/tensor/context.h"
#include "engine/tensor/memory_plan.h"
#include "engine/tensor/tensor.h"

namespace athanor::model {

struct CachedDecoderSizes {
  std::int64_t length_max = 1;   // tokens in a sequence, prompt included
  std::int64_t chunk_max = 128;  // tokens that go through the layers together; longer prompts go in pieces
  std::int64_t sequences = 1;    // each has a cache of its own
};

class CachedDecoder {
 public:
  // `weights` must outlive it, and is read at the first step.
  CachedDecoder(tensor::Context& context, const DecoderWeights& weights, const CachedDecoderSizes& sizes,
                tensor::MemoryPlan& plan);
  // With the weights that training has.
  CachedDecoder(tensor::Context& context, const Parameters& parameters, const CachedDecoderSizes& sizes,
                tensor::MemoryPlan& plan);

  std::int64_t sequences() const { return sizes_.sequences; }
  std::int64_t length_max() const { return sizes_.length_max; }
  // Forgets a sequence, or all.
  void reset(std::int64_t sequence) { lengths_.at(static_cast<std::size_t>(sequence)) = 0; }
  void reset() { lengths_.assign(lengths_.size(), 0); }
  std::int64_t length(std::int64_t sequence = 0) const { return lengths_.at(static_cast<std::size_t>(sequence)); }

  // Tokens (at least one; length(sequence) and they are ≤ length_max()) to append to a sequence.
  struct Piece {
    std::int64_t sequence = 0;
    std::span<const std::int32_t> tokens;
  };
  // Appends to different sequences, and returns the logits (pieces, V) after the last of each. They are good until the
  // next call.
  tensor::Tensor step(std::span<const Piece> pieces);
  // The same for the first sequence: (V).
  std::span<const float> step(std::span<const std::int32_t> tokens);

 private:
  // A token on its way through the layers.
  struct Row {
    std::int32_t token;
    std::int64_t sequence, position;
    std::int64_t last_of;  // the piece whose last it is, or −1
  };
  void plan_memory(tensor::MemoryPlan& plan);
  void step_chunk(std::span<const Row> rows);
  void attend(std::span<const Row> rows, std::int64_t layer, const tensor::Tensor& qkv, const tensor::Tensor& attended);

  tensor::Context& context_;
  const std::unique_ptr<const DecoderWeights> own_weights_;
  const DecoderWeights& weights_;
  const CachedDecoderSizes sizes_;
  std::vector<std::int64_t> lengths_;  // by sequence
  std::vector<StoredLayer> layers_;    // filled at the first step
  StoredOuter outer_;
  std::vector<Row> rows_;
  std::vector<std::int32_t> tokens_;  // of a chunk

  std::vector<const tensor::Tensor*> keys_;    // a layer: (S·T, G·D)
  std::vector<const tensor::Tensor*> values_;  // a layer: (S·T, G·D)
  const tensor::Tensor* cos_;                  // (T, D/2)
  const tensor::Tensor* sin_;                  // (T, D/2)
  const tensor::Tensor* x_;                    // (N, C)
  const tensor::Tensor* normed_;               // (N, C)
  const tensor::Tensor* r_;                    // (N)
  const tensor::Tensor* qkv_;                  // (N, (H+2G)·D)
  const tensor::Tensor* attended_;             // (N, H·D)
  const tensor::Tensor* delta_;                // (N, C)
  const tensor::Tensor* gate_up_;              // (N, 2F)
  const tensor::Tensor* hidden_;               // (N, F)
  const tensor::Tensor* scores_;               // (threads, T)
  const tensor::Tensor* scratch_;              // of the products
  const tensor::Tensor* lasts_;                // (S, C) the final stream of the pieces' last tokens
  const tensor::Tensor* logits_;               // (S, V)
};

}  // namespace athanor::model
