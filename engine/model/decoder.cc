#include "engine/model/decoder.h"

#include <algorithm>

#include "engine/model/phases.h"
#include "engine/tensor/attention.h"
#include "engine/tensor/bias.h"
#include "engine/tensor/copy.h"
#include "engine/tensor/cross_entropy.h"
#include "engine/tensor/embedding.h"
#include "engine/tensor/head_norm.h"
#include "engine/tensor/matmul.h"
#include "engine/tensor/rmsnorm.h"
#include "engine/tensor/rope.h"
#include "engine/tensor/swiglu.h"

namespace athanor::model {

using tensor::DType;
using tensor::Lifetime;
using tensor::Tensor;

namespace {

// A chunk of logits may as well stay in the last-level cache; but each of its rows is one more use of a packed weight of the
// head, and with fewer rows than this, packing takes longer than the cache saves.
constexpr std::int64_t kLogitsBytes = 4 << 20;
constexpr std::int64_t kLogitsRowsMin = 256;

// The linear layers of a block.
enum Place { kQkv, kO, kGateUp, kDown };

}  // namespace

const char* name_of(Recompute recompute) {
  switch (recompute) {
    case Recompute::kLittle: return "little";
    case Recompute::kGateUp: return "gate_up";
    case Recompute::kLayer: return "layer";
  }
  return "";
}

// The views of one layer for a batch of B sequences of T tokens, N = B·T.
struct Decoder::Block {
  std::int64_t number;
  tensor::AttentionShape shape;
  float eps;
  Tensor x, normed, qkv;
  Tensor qk;       // (N, (H+G)·D) of qkv
  Tensor q, k, v;  // as attention takes them
  Tensor attended, lse, middle, r1, r2, gate_up, hidden;
  Tensor low[4];  // (N, R) of qkv, o, gate_up, down
};

Decoder::Decoder(tensor::Context& context, const Weights& weights, const DecoderSizes& sizes, tensor::MemoryPlan& plan)
    : context_(context), weights_(weights), sizes_(sizes) {
  ATHANOR_ASSERT(sizes.batch_max >= 1 && sizes.length_max >= 1 && (weights.trained() || !sizes.backward));
  const Config& c = weights.config();
  const std::int64_t B = sizes.batch_max, T = sizes.length_max, N = B * T, C = c.hidden_size, F = c.intermediate_size;
  const std::int64_t H = c.num_attention_heads, G = c.num_key_value_heads, D = c.head_dim, V = c.vocab_size;
  const std::int64_t L = c.num_hidden_layers;
  const Phases at(L);
  const auto f32 = DType::kFloat32, type = weights.type();
  const std::string streams = "activations: residual stream", attention = "activations: attention",
                    mlp = "activations: feed-forward";

  const Lifetime all{at.embedding(), sizes.backward ? at.backward(0) : at.head()};
  const auto add_stream = [&](const std::string& layer, Kept& kept, const Lifetime& life) {
    kept.x = &plan.add_rows(streams, layer + "x", type, N, C, life);
    kept.r1 = &plan.add(streams, layer + "r1", f32, {N}, life);
  };
  const auto add_gate_up = [&](const std::string& layer, Kept& kept, const Lifetime& life) {
    kept.gate_up = &plan.add_rows(mlp, layer + "gate_up", type, N, 2 * F, life);
  };
  const auto add_rest = [&](const std::string& layer, Kept& kept, const Lifetime& life) {
    kept.qkv = &plan.add_rows(attention, layer + "qkv", type, N, (H + 2 * G) * D, life);
    kept.attended = &plan.add_rows(attention, layer + "attended", type, N, H * D, life);
    kept.lse = &plan.add(attention, layer + "lse", f32, {B, H, T}, life);
    kept.middle = &plan.add_rows(streams, layer + "middle", type, N, C, life);
    kept.r2 = &plan.add(streams, layer + "r2", f32, {N}, life);
  };
  const LoraOptions* lora = weights.lora();
  const auto add_low = [&](const std::string& layer, Kept& kept, const Lifetime& life) {
    const std::int64_t R = lora->rank * std::ranges::count(lora->targets, true);
    kept.low = &plan.add_rows("activations: adapters", layer + "low", type, N, R, life);
  };
  Kept shared{};
  if (!sizes.backward) add_stream("", shared, all);
  if (!sizes.backward && lora) add_low("", shared, all);
  if (!sizes.backward || sizes.recompute_of(0) >= Recompute::kGateUp) add_gate_up("", shared, all);
  if (!sizes.backward || sizes.recompute_of(0) >= Recompute::kLayer) add_rest("", shared, all);
  // The last entry is the final norm's, which belongs to the head.
  for (std::int64_t l = 0; l <= L; ++l) {
    Kept kept = shared;
    if (sizes.backward) {
      const std::string layer = fmt::format("layer {} ", l);
      const Lifetime life{at.forward(l), at.backward(l)};
      const Recompute recompute = sizes.recompute_of(l);
      add_stream(layer, kept, {at.before(l), at.backward(l)});  // what comes before makes it
      if (l < L && lora) add_low(layer, kept, life);
      if (l < L && recompute < Recompute::kGateUp) add_gate_up(layer, kept, life);
      if (l < L && recompute < Recompute::kLayer) add_rest(layer, kept, life);
      if (l < L && recompute >= Recompute::kGateUp) sharing_ = l + 1;
    }
    kept_.push_back(kept);
  }

  const Lifetime layers_back{at.backward(L - 1), at.backward(0)};
  if (lora && lora->dropout > 0 && sizes.backward) {
    dropped_ = &plan.add_rows("activations: adapters", "dropped", type, N, std::max({C, F, H * D}), all);
  }
  if (lora && sizes.backward) {
    d_low_ = &plan.add_rows("activation gradients", "d_low", type, N, 3 * lora->rank, layers_back);
  }

  // What layers use and leave nothing in.
  const Lifetime layers{at.forward(0), at.backward(0), at.head(), at.head()}, head{at.head(), at.head()};
  const std::int64_t threads = context.threads();
  const tensor::AttentionShape shape{B, T, H, G, D};
  cos_ = &plan.add("rope table", "cos", f32, {T, D / 2});
  sin_ = &plan.add("rope table", "sin", f32, {T, D / 2});
  if (c.qk_norm())
    turned_ = &plan.add_rows(attention, "turned q and k", type, N, (H + G) * D, {at.forward(0), at.backward(0)});
  normed_ = &plan.add_rows(streams, "normed", type, N, C, all);
  hidden_ = &plan.add_rows(mlp, "hidden", type, N, F, layers);
  delta_ = &plan.add_rows(streams, "delta", type, N, C, layers);
  attention_scratch_ = &plan.add("attention scratch", "attention scratch", f32,
                                 {threads, tensor::attention_scratch_floats(shape, sizes.backward)}, layers);
  const std::int64_t rows = std::clamp<std::int64_t>(kLogitsBytes / 4 / V, kLogitsRowsMin, std::max(N, kLogitsRowsMin));
  logits_ = &plan.add_rows("logits (a chunk)", "logits", std::min(rows, N), V, head);

  if (sizes.backward) {
    const Lifetime back{at.head(), at.end()};
    dx_ = &plan.add_rows("activation gradients", "dx", type, N, C, back);
    d_normed_ = &plan.add_rows("activation gradients", "d_normed", type, N, C, back);
    d_gain_ = &plan.add("activation gradients", "d_gain", f32, {threads, C}, back);
    if (weights.gradients() == DType::kBFloat16 && rows < N) {
      d_head_sums_ = &plan.add("gradients", "sums of the head's", f32, {V, C}, head);
    }
    d_qkv_ = &plan.add_rows("activation gradients", "d_qkv", type, N, (H + 2 * G) * D, layers_back);
    d_attended_ = &plan.add_rows("activation gradients", "d_attended", type, N, H * D, layers_back);
    if (c.qk_norm()) d_head_gain_ = &plan.add("activation gradients", "d_head_gain", f32, {threads, D}, layers_back);
    d_hidden_ = &plan.add_rows("activation gradients", "d_hidden", type, N, F, layers_back);
  }
}

void Decoder::check_batch(const Tensor& tokens) {
  ATHANOR_ASSERT(tokens.rank() == 2 && tokens.dim(0) >= 1 && tokens.dim(0) <= sizes_.batch_max);
  ATHANOR_ASSERT(tokens.dim(1) >= 1 && tokens.dim(1) <= sizes_.length_max);
  if (!table_filled_) {
    tensor::rope_table(weights_.config().rope_theta, *cos_, *sin_, weights_.config().rope_scaling);
    table_filled_ = true;
  }
}

Decoder::Block Decoder::block(std::int64_t layer, std::int64_t B, std::int64_t T) const {
  const Config& c = weights_.config();
  const std::int64_t N = B * T, H = c.num_attention_heads, G = c.num_key_value_heads, D = c.head_dim;
  const Kept& kept = kept_[static_cast<std::size_t>(layer)];
  Block b;
  b.number = layer;
  b.shape = {B, T, H, G, D, layer < c.num_hidden_layers ? c.window(layer) : 0};
  b.eps = static_cast<float>(c.rms_norm_eps);
  b.x = kept.x->rows(0, N);
  b.r1 = kept.r1->rows(0, N);
  b.normed = normed_->rows(0, N);
  if (layer == c.num_hidden_layers) return b;
  b.qkv = kept.qkv->rows(0, N);
  b.qk = b.qkv.columns(0, (H + G) * D);
  const Tensor turned = turned_ != nullptr ? turned_->rows(0, N) : b.qk;
  b.q = turned.columns(0, H * D);
  b.k = turned.columns(H * D, (H + G) * D);
  b.v = b.qkv.columns((H + G) * D, (H + 2 * G) * D);
  b.attended = kept.attended->rows(0, N);
  b.lse = Tensor::of(kept.lse->f32(), {B, H, T});
  b.middle = kept.middle->rows(0, N);
  b.r2 = kept.r2->rows(0, N);
  b.gate_up = kept.gate_up->rows(0, N);
  b.hidden = hidden_->rows(0, N);
  if (const LoraOptions* lora = weights_.lora()) {
    constexpr int kFirst[] = {0, 3, 4, 6, kLoraTargets};  // the first target of each linear layer
    std::int64_t at = 0;
    for (int place = 0; place < 4; ++place) {
      const std::int64_t begin = at;
      for (int target = kFirst[place]; target < kFirst[place + 1]; ++target) {
        if (lora->targets[static_cast<std::size_t>(target)]) at += lora->rank;
      }
      b.low[place] = kept.low->rows(0, N).columns(begin, at);
    }
  }
  return b;
}

// q and k as attention takes them: turned in place, or normed and turned into a buffer that all layers share, so that the
// backward pass, which needs both, makes them anew.
void Decoder::turn_heads(const Block& b, const LayerWeights& w) {
  const std::int64_t H = b.shape.heads, G = b.shape.kv_heads, D = b.shape.head_dim;
  if (w.q_norm) {
    head_norm_forward(context_, b.qk.columns(0, H * D), w.q_norm, b.eps, b.q);
    head_norm_forward(context_, b.qk.columns(H * D, (H + G) * D), w.k_norm, b.eps, b.k);
  }
  const Tensor turned = turned_ != nullptr ? turned_->rows(0, b.qk.dim(0)) : b.qk;
  rope(context_, turned, D, b.shape.length, 0, *cos_, *sin_, tensor::Turn::kForward);
}

tensor::Dropout Decoder::dropout(const Block& b, int place) const {
  return {.rate = dropout_rate_,
          .key = masks_.key ^ static_cast<std::uint64_t>(4 * b.number + place + 1) << 40,
          .first_row = masks_.first_sequence * sizes_.length_max,
          .length = b.shape.length,
          .stride = sizes_.length_max};
}

void Decoder::linear(const Block& b, int place, const Linear& layer, const Tensor& x, const Tensor& y) {
  linear_forward(context_, layer, dropout(b, place), x, y, b.low[place], {dropped_ ? *dropped_ : Tensor(), {}});
}

void Decoder::linear_back(const Block& b, int place, const Linear& layer, const Tensor& x, const Tensor& dy,
                          const Tensor& dx) {
  linear_backward(context_, layer, dropout(b, place), x, dy, dx, b.low[place],
                  {dropped_ ? *dropped_ : Tensor(), d_low_ ? *d_low_ : Tensor()});
}

void Decoder::forward_to_gate_up(const Block& b, const LayerWeights& w, const Tensor& document_starts) {
  const Tensor delta = delta_->rows(0, b.x.dim(0));  // (N, C)

  linear(b, kQkv, w.qkv, b.normed, b.qkv);
  if (w.bias) bias_forward(context_, w.bias, b.qkv);
  turn_heads(b, w);
  attention_forward(context_, b.shape, b.q, b.k, b.v, b.attended, b.lse, *attention_scratch_, document_starts);
  linear(b, kO, w.o, b.attended, delta);
  add_rmsnorm_forward(context_, b.x, delta, w.norm2, b.eps, b.middle, b.normed, b.r2);
  linear(b, kGateUp, w.gate_up, b.normed, b.gate_up);
}

// From the normed stream that enters to the delta that the feed-forward half adds. The addition itself is fused with
// the norm that follows, which belongs to the next layer.
void Decoder::forward_block(const Block& b, const LayerWeights& w, const Tensor& document_starts) {
  forward_to_gate_up(b, w, document_starts);
  swiglu_forward(context_, b.gate_up, b.hidden);
  linear(b, kDown, w.down, b.hidden, delta_->rows(0, b.x.dim(0)));
}

void Decoder::recompute_block(const Block& b, const LayerWeights& w, const Tensor& document_starts) {
  switch (sizes_.recompute_of(b.number)) {
    case Recompute::kLittle: break;
    case Recompute::kGateUp:
      rmsnorm_forward(context_, b.middle, w.norm2, b.eps, b.normed, b.r2);
      linear(b, kGateUp, w.gate_up, b.normed, b.gate_up);
      break;
    case Recompute::kLayer:
      rmsnorm_forward(context_, b.x, w.norm1, b.eps, b.normed, b.r1);
      forward_to_gate_up(b, w, document_starts);
      break;
  }
}

// dx_ enters as the gradient of the stream that leaves the layer and leaves as that of the stream that enters it: the
// residual path carries it through, each half adds its own.
void Decoder::backward_block(const Block& b, const LayerWeights& w, bool input_gradient,
                             const Tensor& document_starts) {
  const std::int64_t N = b.x.dim(0), D = b.shape.head_dim, H = b.shape.heads, G = b.shape.kv_heads;
  const Tensor dx = dx_->rows(0, N);                  // (N, C)
  const Tensor d_normed = d_normed_->rows(0, N);      // (N, C)
  const Tensor d_hidden = d_hidden_->rows(0, N);      // (N, F)
  const Tensor d_attended = d_attended_->rows(0, N);  // (N, H·D)
  const Tensor d_qkv = d_qkv_->rows(0, N);            // (N, (H+2G)·D)

  swiglu_forward(context_, b.gate_up, b.hidden);
  linear_back(b, kDown, w.down, b.hidden, dx, d_hidden);
  const Tensor d_gate_up = b.gate_up;  // in place
  swiglu_backward(context_, d_gate_up, d_hidden);
  rmsnorm_forward(context_, b.middle, w.norm2, b.eps, b.normed, b.r2);
  linear_back(b, kGateUp, w.gate_up, b.normed, d_gate_up, d_normed);
  rmsnorm_backward(context_, b.middle, w.norm2, b.r2, d_normed, dx, w.d_norm2, *d_gain_);

  linear_back(b, kO, w.o, b.attended, dx, d_attended);
  const Tensor dq = d_qkv.columns(0, H * D), dk = d_qkv.columns(H * D, (H + G) * D);
  if (w.q_norm) turn_heads(b, w);
  attention_backward(context_, b.shape, b.q, b.k, b.v, b.attended, b.lse, d_attended, dq, dk,
                     d_qkv.columns((H + G) * D, (H + 2 * G) * D), *attention_scratch_, document_starts);
  rope(context_, d_qkv.columns(0, (H + G) * D), D, b.shape.length, 0, *cos_, *sin_, tensor::Turn::kBackward);
  if (w.q_norm) {
    head_norm_backward(context_, b.qk.columns(0, H * D), w.q_norm, b.eps, dq, w.d_q_norm, *d_head_gain_);
    head_norm_backward(context_, b.qk.columns(H * D, (H + G) * D), w.k_norm, b.eps, dk, w.d_k_norm, *d_head_gain_);
  }
  if (w.d_bias) bias_backward(context_, d_qkv, w.d_bias);
  rmsnorm_forward(context_, b.x, w.norm1, b.eps, b.normed, b.r1);
  linear_back(b, kQkv, w.qkv, b.normed, d_qkv, input_gradient ? d_normed : Tensor());
  if (input_gradient) rmsnorm_backward(context_, b.x, w.norm1, b.r1, d_normed, dx, w.d_norm1, *d_gain_);
}

Tensor Decoder::forward(const Tensor& tokens, const Tensor& document_starts) {
  check_batch(tokens);
  const OuterWeights outer = weights_.outer();
  const std::int64_t B = tokens.dim(0), T = tokens.dim(1), L = weights_.config().num_hidden_layers;

  Block b = block(0, B, T);
  LayerWeights w = weights_.layer(0);
  embedding_forward(context_, tokens, outer.embedding, b.x);
  rmsnorm_forward(context_, b.x, w.norm1, b.eps, b.normed, b.r1);
  for (std::int64_t l = 0; l < L; ++l) {
    forward_block(b, w, document_starts);
    const Tensor middle = b.middle;
    b = block(l + 1, B, T);
    if (l + 1 < L) w = weights_.layer(l + 1);
    const Tensor gain = l + 1 < L ? w.norm1 : outer.norm;
    add_rmsnorm_forward(context_, middle, delta_->rows(0, B * T), gain, b.eps, b.x, b.normed, b.r1);
  }
  return b.normed;
}

double Decoder::loss(const Tensor& tokens, const Tensor& targets, const Tensor& document_starts) {
  dropout_rate_ = 0;
  const Tensor normed = forward(tokens, document_starts);
  return cross_entropy_forward(context_, normed, weights_.outer().head, targets, *logits_);
}

void Decoder::losses(const Tensor& tokens, const Tensor& targets, std::span<double> losses,
                     const Tensor& document_starts) {
  dropout_rate_ = 0;
  const Tensor normed = forward(tokens, document_starts);
  cross_entropy_forward(context_, normed, weights_.outer().head, targets, *logits_, losses);
}

Tensor Decoder::forward_with_dropout(const Tensor& tokens, const Tensor& document_starts, const DropoutMasks& masks) {
  ATHANOR_ASSERT(sizes_.backward);
  dropout_rate_ = weights_.lora() ? static_cast<float>(weights_.lora()->dropout) : 0;
  masks_ = masks;
  return forward(tokens, document_starts);
}

double Decoder::forward_backward(const Tensor& tokens, const Tensor& targets, float scale,
                                 const Tensor& document_starts, const DropoutMasks& masks, float z_loss) {
  const Tensor normed = forward_with_dropout(tokens, document_starts, masks);
  return backward(tokens, targets, scale, z_loss, normed, document_starts);
}

// The head's product is made twice, before and after the weights are known, because its logits are never all there.
void Decoder::forward_backward(const Tensor& tokens, const Tensor& targets, const Weigh& weigh,
                               const Tensor& document_starts, const DropoutMasks& masks) {
  const Tensor normed = forward_with_dropout(tokens, document_starts, masks);
  std::vector<double> losses(static_cast<std::size_t>(tokens.dim(0)));
  std::vector<float> weights(losses.size());
  cross_entropy_forward(context_, normed, weights_.outer().head, targets, *logits_, losses);
  weigh(losses, weights);
  backward(tokens, targets, std::span<const float>(weights), 0, normed, document_starts);
}

double Decoder::backward(const Tensor& tokens, const Tensor& targets, const tensor::RowWeights& weights, float z_loss,
                         const Tensor& normed, const Tensor& document_starts) {
  const OuterWeights outer = weights_.outer();
  const std::int64_t B = tokens.dim(0), T = tokens.dim(1), L = weights_.config().num_hidden_layers;
  const Tensor dx = dx_->rows(0, B * T);
  const Tensor d_normed = d_normed_->rows(0, B * T);

  // Each part as late as can be: until then activations may lie in its place.
  const Parameters* anew = weights_.gradients_anew();
  if (anew) {
    if (weights_.config().tie_word_embeddings) clear(context_, anew->layout().before_layers(anew->gradients()));
    clear(context_, anew->layout().after_layers(anew->gradients()));
  }
  const double loss = cross_entropy_forward_backward(context_, normed, outer.head, targets, weights, *logits_, d_normed,
                                                     outer.d_head, d_head_sums_ ? *d_head_sums_ : Tensor(), z_loss);
  const Block last = block(L, B, T);
  clear(context_, dx);
  rmsnorm_backward(context_, last.x, outer.norm, last.r1, d_normed, dx, outer.d_norm, *d_gain_);
  for (std::int64_t l = L; l-- > 0;) {
    const Block b = block(l, B, T);
    const LayerWeights w = weights_.layer(l);
    if (anew) clear(context_, anew->layout().whole_layer(anew->gradients(), l));
    if (l + 1 < sharing_) recompute_block(b, w, document_starts);  // what layers share is still the last one's
    backward_block(b, w, l > 0 || outer.d_embedding, document_starts);
  }
  if (anew && !weights_.config().tie_word_embeddings) clear(context_, anew->layout().before_layers(anew->gradients()));
  if (outer.d_embedding) embedding_backward(context_, tokens, dx, outer.d_embedding);
  return loss;
}

void Decoder::logits(const Tensor& tokens, const Tensor& into, const Tensor& document_starts) {
  dropout_rate_ = 0;
  const Tensor normed = forward(tokens, document_starts);
  matmul_transposed(context_, normed, weights_.outer().head, into);
}

}  // namespace athanor::model
