// A Llama-style decoder with explicit forward and backward over planned memory. decoder.cc reads like the paper:
//
//   x = embedding[tokens]
//   for each layer:  x += attention(rope(qkv(norm(x)))) · Woᵀ        (Qwen3: each head of q and k normed before rope)
//                    x += swiglu(gate_up(norm(x))) · W_downᵀ
//   loss = cross_entropy(norm(x) · W_headᵀ)
//
// Activations and their gradients are of the parameters' type, float32 or bfloat16; sums, norms, softmax and the loss are
// float32's or more.
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

// What a layer does not keep for its backward pass but computes again in it, from least to most. What norms and SwiGLU give
// is never kept: making it anew costs about what reading it would.
enum class Recompute : std::uint8_t {
  kLittle,  // only that
  kGateUp,  // and the product with gate and up: a twelfth of a step's work for half of what layers keep
  kLayer,   // everything but the stream that enters: a quarter of a step's work
};

struct DecoderSizes {
  std::int64_t batch_max = 1;   // sequences in one call
  std::int64_t length_max = 1;  // tokens in a sequence
  bool backward = false;        // also plan what forward_backward() needs
  Recompute recompute = Recompute::kLittle;
};

class Decoder {
 public:
  // Plans its memory. `context`, `parameters` and `plan` must outlive it; with `backward`, parameters have gradients.
  Decoder(tensor::Context& context, Parameters& parameters, const DecoderSizes& sizes, tensor::MemoryPlan& plan);

  // tokens, targets (B, T) int32 with B ≤ batch_max and T ≤ length_max; targets[b][t] is what follows tokens[b][t],
  // or tensor::kNoTarget. Returns the sum of the losses over all targets, in nats. `document_starts` (B, T): where the
  // document of each token begins, when sequences are packed of several that shall not see each other (attention.h).
  double loss(const tensor::Tensor& tokens, const tensor::Tensor& targets, const tensor::Tensor& document_starts = {});

  // The same, and adds scale · d(sum of losses) to the gradients. To average over all tokens of a step, `scale` is one
  // over their number, whoever computes them.
  double forward_backward(const tensor::Tensor& tokens, const tensor::Tensor& targets, float scale,
                          const tensor::Tensor& document_starts = {});

  // All logits at once, into (B·T, V): for comparisons and for scoring short texts.
  void logits(const tensor::Tensor& tokens, const tensor::Tensor& into, const tensor::Tensor& document_starts = {});

 private:
  // What a layer has for its backward pass: its own, or what all layers share and each makes anew there; without `backward`
  // all is shared. The last entry stands for the final norm and has only the first two.
  struct Kept {
    const tensor::Tensor* x;         // (N, C)          the residual stream that enters
    const tensor::Tensor* r1;        // (N)             1 / rms of it
    const tensor::Tensor* qkv;       // (N, (H+2G)·D)   q and k turned by RoPE, or as they are before their norm
    const tensor::Tensor* attended;  // (N, H·D)
    const tensor::Tensor* lse;       // (B, H, T)
    const tensor::Tensor* middle;    // (N, C)          the stream after attention
    const tensor::Tensor* r2;        // (N)
    const tensor::Tensor* gate_up;   // (N, 2F)
  };
  struct Block;  // views of a layer for one call

  void check_batch(const tensor::Tensor& tokens);
  Block block(std::int64_t layer, std::int64_t B, std::int64_t T) const;
  // Returns the normed final stream (N, C).
  tensor::Tensor forward(const tensor::Tensor& tokens, const tensor::Tensor& document_starts);
  void turn_heads(const Block& block, const LayerViews& w);
  // From the stream that enters, normed, to gate and up.
  void forward_to_gate_up(const Block& block, const LayerViews& w, const tensor::Tensor& document_starts);
  void forward_block(const Block& block, const LayerViews& w, const tensor::Tensor& document_starts);
  // What backward_block() needs and the layer did not keep.
  void recompute_block(const Block& block, const LayerViews& w, const tensor::Tensor& document_starts);
  void backward_block(const Block& block, const LayerViews& w, const LayerViews& dw,
                      const tensor::Tensor& document_starts);

  tensor::Context& context_;
  Parameters& parameters_;
  const DecoderSizes sizes_;
  std::vector<Kept> kept_;  // L + 1

  const tensor::Tensor* cos_;                // (T, D/2)
  const tensor::Tensor* sin_;                // (T, D/2)
  bool table_filled_ = false;
  const tensor::Tensor* turned_ = nullptr;   // (N, (H+G)·D) q and k normed and turned; only with a norm on them
  const tensor::Tensor* normed_;             // (N, C)      the stream after a norm
  const tensor::Tensor* hidden_;             // (N, F)      after SwiGLU
  const tensor::Tensor* delta_;              // (N, C)      what a half of a layer adds to the stream
  const tensor::Tensor* attention_scratch_;  // (threads, …)
  const tensor::Tensor* logits_;             // (R, V)      a chunk of rows

  // Gradients, of what is named; only with `backward`.
  const tensor::Tensor* dx_ = nullptr;          // (N, C)
  const tensor::Tensor* d_normed_ = nullptr;    // (N, C)
  const tensor::Tensor* d_qkv_ = nullptr;       // (N, (H+2G)·D)
  const tensor::Tensor* d_attended_ = nullptr;  // (N, H·D)
  const tensor::Tensor* d_hidden_ = nullptr;    // (N, F)
  const tensor::Tensor* d_gain_ = nullptr;      // (threads, C)
  const tensor::Tensor* d_head_gain_ = nullptr;  // (threads, D)
  const tensor::Tensor* d_head_sums_ = nullptr;  // (V, C) float32, where the head's gradient is a sum over chunks in bfloat16
};

}  // namespace athanor::model
