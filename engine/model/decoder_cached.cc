#include "engine/model/decoder_cached.h"

#include <algorithm>
#include <cstring>

#include "engine/tensor/attention.h"
#include "engine/tensor/bias.h"
#include "engine/tensor/embedding.h"
#include "engine/tensor/head_norm.h"
#include "engine/tensor/matmul.h"
#include "engine/tensor/rmsnorm.h"
#include "engine/tensor/rope.h"
#include "engine/tensor/swiglu.h"

namespace athanor::model {

using tensor::Tensor;

CachedDecoder::CachedDecoder(tensor::Context& context, Parameters& parameters, const CachedDecoderSizes& sizes,
                             tensor::MemoryPlan& plan)
    : context_(context), parameters_(parameters), sizes_(sizes) {
  ATHANOR_ASSERT(sizes.length_max >= 1 && sizes.chunk_max >= 1);
  const Config& c = parameters.config();
  const std::int64_t T = sizes.length_max, N = std::min(sizes.chunk_max, T), C = c.hidden_size;
  const std::int64_t H = c.num_attention_heads, G = c.num_key_value_heads, D = c.head_dim, F = c.intermediate_size;
  const auto f32 = tensor::DType::kFloat32, type = parameters.type();
  for (std::int64_t l = 0; l < c.num_hidden_layers; ++l) {
    keys_.push_back(&plan.add("key/value cache", fmt::format("layer {} keys", l), type, {T, G * D}));
    values_.push_back(&plan.add("key/value cache", fmt::format("layer {} values", l), type, {T, G * D}));
  }
  const std::string group = "generation: activations";
  cos_ = &plan.add(group, "cos", f32, {T, D / 2});
  sin_ = &plan.add(group, "sin", f32, {T, D / 2});
  tokens_ = &plan.add(group, "tokens", tensor::DType::kInt32, {N});
  x_ = &plan.add(group, "x", type, {N, C});
  normed_ = &plan.add(group, "normed", type, {N, C});
  r_ = &plan.add(group, "r", f32, {N});
  qkv_ = &plan.add(group, "qkv", type, {N, (H + 2 * G) * D});
  attended_ = &plan.add(group, "attended", type, {N, H * D});
  delta_ = &plan.add(group, "delta", type, {N, C});
  gate_up_ = &plan.add(group, "gate_up", type, {N, 2 * F});
  hidden_ = &plan.add(group, "hidden", type, {N, F});
  scores_ = &plan.add(group, "scores", f32, {context.threads(), T});
  logits_ = &plan.add(group, "logits", f32, {1, c.vocab_size});
}

std::span<const float> CachedDecoder::step(std::span<const std::int32_t> tokens) {
  ATHANOR_ASSERT(!tokens.empty() && length_ + static_cast<std::int64_t>(tokens.size()) <= sizes_.length_max);
  if (!table_filled_) {
    tensor::rope_table(parameters_.config().rope_theta, *cos_, *sin_, parameters_.config().rope_scaling);
    table_filled_ = true;
  }
  const auto chunk = static_cast<std::size_t>(tokens_->dim(0));
  for (std::size_t begin = 0; begin < tokens.size(); begin += chunk) {
    step_chunk(tokens.subspan(begin, std::min(chunk, tokens.size() - begin)));
  }
  return logits_->floats();
}

void CachedDecoder::step_chunk(std::span<const std::int32_t> tokens) {
  const Config& c = parameters_.config();
  const std::int64_t N = static_cast<std::int64_t>(tokens.size()), L = c.num_hidden_layers;
  const std::int64_t H = c.num_attention_heads, G = c.num_key_value_heads, D = c.head_dim;
  const auto eps = static_cast<float>(c.rms_norm_eps);
  tensor::AttentionShape shape{1, length_ + N, H, G, D};
  const OuterViews outer = parameters_.layout().outer(parameters_.values());

  const Tensor ids = tokens_->rows(0, N);          // (N)
  const Tensor x = x_->rows(0, N);                 // (N, C)
  const Tensor normed = normed_->rows(0, N);       // (N, C)
  const Tensor r = r_->rows(0, N);                 // (N)
  const Tensor qkv = qkv_->rows(0, N);             // (N, (H+2G)·D)
  const Tensor attended = attended_->rows(0, N);   // (N, H·D)
  const Tensor delta = delta_->rows(0, N);         // (N, C)
  const Tensor gate_up = gate_up_->rows(0, N);     // (N, 2F)
  const Tensor hidden = hidden_->rows(0, N);       // (N, F)

  std::copy(tokens.begin(), tokens.end(), ids.i32());
  embedding_forward(context_, ids, outer.embedding, x);
  for (std::int64_t l = 0; l < L; ++l) {
    const LayerViews w = parameters_.layout().layer(parameters_.values(), l);
    if (l == 0) rmsnorm_forward(context_, x, w.norm1, eps, normed, r);
    if (l != 0) add_rmsnorm_forward(context_, x, delta, w.norm1, eps, x, normed, r);

    matmul(context_, normed, w.qkv.transposed(), qkv);
    if (w.bias) bias_forward(context_, w.bias, qkv);
    if (w.q_norm) {
      const Tensor q = qkv.columns(0, H * D), k = qkv.columns(H * D, (H + G) * D);
      head_norm_forward(context_, q, w.q_norm, eps, q);
      head_norm_forward(context_, k, w.k_norm, eps, k);
    }
    rope(context_, qkv.columns(0, (H + G) * D), D, N, length_, *cos_, *sin_, tensor::Turn::kForward);
    const Tensor& keys = *keys_[static_cast<std::size_t>(l)];      // (T, G·D)
    const Tensor& values = *values_[static_cast<std::size_t>(l)];  // (T, G·D)
    for (std::int64_t n = 0; n < N; ++n) {
      const Tensor row = qkv.rows(n, n + 1).columns(H * D, (H + 2 * G) * D);
      const Tensor key = keys.rows(length_ + n, length_ + n + 1), value = values.rows(length_ + n, length_ + n + 1);
      std::memcpy(key.data(), row.columns(0, G * D).data(), key.bytes());
      std::memcpy(value.data(), row.columns(G * D, 2 * G * D).data(), value.bytes());
    }
    shape.window = parameters_.config().window(l);
    attention_cached(context_, shape, length_, qkv.columns(0, H * D), keys, values, attended, *scores_);
    matmul(context_, attended, w.o.transposed(), delta);
    add_rmsnorm_forward(context_, x, delta, w.norm2, eps, x, normed, r);

    matmul(context_, normed, w.gate_up.transposed(), gate_up);
    swiglu_forward(context_, gate_up, hidden);
    matmul(context_, hidden, w.down.transposed(), delta);
  }
  add_rmsnorm_forward(context_, x, delta, outer.norm, eps, x, normed, r);
  matmul(context_, normed.rows(N - 1, N), outer.head.transposed(), *logits_);
  length_ += N;
}

}  // namespace athanor::model
