// A Llama-style decoder with explicit forward and backward over planned memory. decoder.cc reads like the paper:
//
//   x = embedding[tokens]
//   for each layer:  x += attention(rope(qkv(norm(x)))) · Woᵀ        (Qwen3: each head of q and k normed before rope)
//                    x += swiglu(gate_up(norm(x))) · W_downᵀ
//   loss = cross_entropy(norm(x) · W_headᵀ)
//
// Its weights are trained, or frozen with low-rank adapters beside them (weights.h, linear.h).
//
// Activations and their gradients are of the parameters' type, float32 or bfloat16; sums, norms, softmax and the loss are
// float32's or more.
//
// Construct, allocate the plan, fill the parameters, then call. One thread. Token ids must lie in [0, vocab_size): a
// caller that takes them from outside checks them, here they are asserted.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/model/config.h"
#include "engine/model/weights.h"
#include "engine/tensor/context.h"
#include "engine/tensor/cross_entropy.h"
#include "engine/tensor/dropout.h"
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

const char* name_of(Recompute recompute);  // "gate_up"

struct DecoderSizes {
  std::int64_t batch_max = 1;   // sequences in one call
  std::int64_t length_max = 1;  // tokens in a sequence
  bool backward = false;        // also plan what forward_backward() needs
  Recompute recompute = Recompute::kLittle;
  // The first so many layers do that, the others what is next less: the rungs of a ladder.
  std::int64_t recompute_layers = INT64_MAX;

  Recompute recompute_of(std::int64_t layer) const {
    if (layer < recompute_layers || recompute == Recompute::kLittle) return recompute;
    return recompute == Recompute::kLayer ? Recompute::kGateUp : Recompute::kLittle;
  }
};

// Which dropout masks a call has: those of `key`, for sequences that are number `first_sequence` and so on of all that the
// key is for. So they are the same however a batch is cut, and however long its rows are.
struct DropoutMasks {
  std::uint64_t key = 0;
  std::int64_t first_sequence = 0;
};

class Decoder {
 public:
  // Plans its memory. `context`, `plan` and what `weights` are of must outlive it; with `backward`, something is trained.
  Decoder(tensor::Context& context, const Weights& weights, const DecoderSizes& sizes, tensor::MemoryPlan& plan);

  const DecoderSizes& sizes() const { return sizes_; }

  // tokens, targets (B, T) int32 with B ≤ batch_max and T ≤ length_max; targets[b][t] is what follows tokens[b][t],
  // or tensor::kNoTarget. Returns the sum of the losses over all targets, in nats. `document_starts` (B, T): where the
  // document of each token begins, when sequences are packed of several that shall not see each other (attention.h).
  double loss(const tensor::Tensor& tokens, const tensor::Tensor& targets, const tensor::Tensor& document_starts = {});

  // The same for each sequence: replaces `losses` (B).
  void losses(const tensor::Tensor& tokens, const tensor::Tensor& targets, std::span<double> losses,
              const tensor::Tensor& document_starts = {});

  // As loss(), with z-loss of this coefficient (cross_entropy.h), and adds scale · d(sum of losses) to the gradients, or puts it
  // in their place where they are made anew (ParameterTypes::gradients_anew). To average over all tokens of a step, `scale` is one
  // over their number, whoever computes them. Adapters' dropout is at work in forward_backward() only.
  double forward_backward(const tensor::Tensor& tokens, const tensor::Tensor& targets, float scale,
                          const tensor::Tensor& document_starts = {}, const DropoutMasks& masks = {}, float z_loss = 0);

  // For an objective that is no sum of the sequences' losses: is given those (B), and answers with what each is weighted by in the
  // gradient (B).
  using Weigh = std::function<void(std::span<const double> losses, std::span<float> weights)>;
  // Adds the gradient of the sum over b of weights[b] · losses[b], the weights taken as constants.
  void forward_backward(const tensor::Tensor& tokens, const tensor::Tensor& targets, const Weigh& weigh,
                        const tensor::Tensor& document_starts = {}, const DropoutMasks& masks = {});

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
    const tensor::Tensor* low;  // (N, R)          what adapters' A give, for all of a layer's; R the sum of their ranks
  };
  struct Block;  // views of a layer for one call

  void check_batch(const tensor::Tensor& tokens);
  Block block(std::int64_t layer, std::int64_t B, std::int64_t T) const;
  // Returns the normed final stream (N, C).
  tensor::Tensor forward(const tensor::Tensor& tokens, const tensor::Tensor& document_starts);
  tensor::Tensor forward_with_dropout(const tensor::Tensor& tokens, const tensor::Tensor& document_starts,
                                      const DropoutMasks& masks);
  // From the normed stream of that forward pass to all gradients. Returns the sum of the losses.
  double backward(const tensor::Tensor& tokens, const tensor::Tensor& targets, const tensor::RowWeights& weights,
                  float z_loss, const tensor::Tensor& normed, const tensor::Tensor& document_starts);
  void turn_heads(const Block& block, const LayerWeights& w);
  // From the stream that enters, normed, to gate and up.
  void forward_to_gate_up(const Block& block, const LayerWeights& w, const tensor::Tensor& document_starts);
  void forward_block(const Block& block, const LayerWeights& w, const tensor::Tensor& document_starts);
  // What backward_block() needs and the layer did not keep.
  void recompute_block(const Block& block, const LayerWeights& w, const tensor::Tensor& document_starts);
  // The first layer's input has no gradient when the embedding is frozen.
  void backward_block(const Block& block, const LayerWeights& w, bool input_gradient,
                      const tensor::Tensor& document_starts);
  // Of linear layer `place` (0 to 3) of a block.
  tensor::Dropout dropout(const Block& block, int place) const;
  // That layer.
  void linear(const Block& block, int place, const Linear& layer, const tensor::Tensor& x, const tensor::Tensor& y);
  void linear_back(const Block& block, int place, const Linear& layer, const tensor::Tensor& x,
                   const tensor::Tensor& dy, const tensor::Tensor& dx);

  tensor::Context& context_;
  const Weights weights_;
  const DecoderSizes sizes_;
  std::int64_t sharing_ = 0;  // layers [0, sharing) have something in memory that they share
  std::vector<Kept> kept_;    // L + 1

  const tensor::Tensor* cos_;  // (T, D/2)
  const tensor::Tensor* sin_;  // (T, D/2)
  bool table_filled_ = false;
  const tensor::Tensor* turned_ = nullptr;   // (N, (H+G)·D) q and k normed and turned; only with a norm on them
  const tensor::Tensor* normed_;             // (N, C)      the stream after a norm
  const tensor::Tensor* hidden_;             // (N, F)      after SwiGLU
  const tensor::Tensor* delta_;              // (N, C)      what a half of a layer adds to the stream
  const tensor::Tensor* dropped_ = nullptr;  // (N, the widest input of an adapter) after dropout
  const tensor::Tensor* d_low_ = nullptr;    // (N, 3r)     the gradient of what adapters' A give
  float dropout_rate_ = 0;                   // in this call
  DropoutMasks masks_;                       // likewise
  const tensor::Tensor* attention_scratch_;  // (threads, …)
  const tensor::Tensor* logits_;             // (R, V)      a chunk of rows

  // Gradients, of what is named; only with `backward`.
  const tensor::Tensor* dx_ = nullptr;           // (N, C)
  const tensor::Tensor* d_normed_ = nullptr;     // (N, C)
  const tensor::Tensor* d_qkv_ = nullptr;        // (N, (H+2G)·D)
  const tensor::Tensor* d_attended_ = nullptr;   // (N, H·D)
  const tensor::Tensor* d_hidden_ = nullptr;     // (N, F)
  const tensor::Tensor* d_gain_ = nullptr;       // (threads, C)
  const tensor::Tensor* d_head_gain_ = nullptr;  // (threads, D)
  const tensor::Tensor* d_head_sums_ =
      nullptr;  // (V, C) float32, where the head's gradient is a sum over chunks in bfloat16
};

}  // namespace athanor::model
