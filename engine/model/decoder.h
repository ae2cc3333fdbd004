// A Llama-style decoder with explicit forward and backward over planned memory. decoder.cc reads like the paper:
//
//   x = embedding[tokens]
//   for each layer:  x += attention(rope(qkv(norm(x)))) · Woᵀ
//                    x += swiglu(gate_up(norm(x))) · W_downᵀ
//   loss = cross_entropy(norm(x) · W_headᵀ)
//
// Construct, allocate the plan, fill the parameters, then call. One thread. Token ids must lie in [0, vocab_size): a
// caller that takes them from outside checks them, here they are asserted.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/model/config.h"
#include "engine/model/parameters.h"
#include "engine/tensor/context.h"
#include "engine/tensor/memory_plan.h"
#include "engine/tensor/tensor.h"

namespace athanor::model {

struct DecoderSizes {
  std::int64_t batch_max = 1;   // sequences in one call
  std::int64_t length_max = 1;  // tokens in a sequence
  bool backward = false;        // also plan what forward_backward() needs
};

class Decoder {
 public:
  // Plans its memory. `context`, `parameters` and `plan` must outlive it; with `backward`, parameters have gradients.
  Decoder(tensor::Context& context, Parameters& parameters, const DecoderSizes& sizes, tensor::MemoryPlan& plan);

  // tokens, targets (B, T) int32 with B ≤ batch_max and T ≤ length_max; targets[b][t] is what follows tokens[b][t],
  // or tensor::kNoTarget. Returns the sum of the losses over all targets, in nats.
  double loss(const tensor::Tensor& tokens, const tensor::Tensor& targets);

  // The same, and adds scale · d(sum of losses) to the gradients. To average over all tokens of a step, `scale` is one
  // over their number, whoever computes them.
  double forward_backward(const tensor::Tensor& tokens, const tensor::Tensor& targets, float scale);

  // All logits at once, into (B·T, V): for comparisons and for scoring short texts.
  void logits(const tensor::Tensor& tokens, const tensor::Tensor& into);

 private:
  struct Layer;
  void plan(tensor::MemoryPlan& plan);
  tensor::Tensor forward(const tensor::Tensor& tokens);

  tensor::Context& context_;
  Parameters& parameters_;
  const DecoderSizes sizes_;

  // What a layer keeps for its backward pass; without `backward` all layers share one set.
  struct Kept {
    tensor::Tensor const* x;         // (N, C)       the residual stream that enters the layer
    tensor::Tensor const* r1;        // (N)          1 / rms of it
    tensor::Tensor const* normed1;   // (N, C)
    tensor::Tensor const* qkv;       // (N, (H+2G)·D) turned by RoPE
    tensor::Tensor const* attended;  // (N, H·D)
    tensor::Tensor const* lse;       // (B, H, T)
    tensor::Tensor const* middle;    // (N, C)       the stream after attention
    tensor::Tensor const* r2;        // (N)
    tensor::Tensor const* normed2;   // (N, C)
    tensor::Tensor const* gate_up;   // (N, 2F)
    tensor::Tensor const* hidden;    // (N, F)
  };
  std::vector<Kept> kept_;
};

}  // namespace athanor::model
