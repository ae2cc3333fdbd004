#include "engine/model/decoder_cached.h"

#include <algorithm>
#include <set>

#include "common/error.h"
#include "engine/tensor/attention.h"
#include "engine/tensor/bias.h"
#include "engine/tensor/copy.h"
#include "engine/tensor/head_norm.h"
#include "engine/tensor/rmsnorm.h"
#include "engine/tensor/rope.h"
#include "engine/tensor/stored_matrix.h"
#include "engine/tensor/swiglu.h"

namespace athanor::model {

using tensor::Tensor;

CachedDecoder::CachedDecoder(tensor::Context& context, const DecoderWeights& weights, const CachedDecoderSizes& sizes,
                             tensor::MemoryPlan& plan)
    : context_(context), weights_(weights), sizes_(sizes), lengths_(static_cast<std::size_t>(sizes.sequences)) {
  plan_memory(plan);
}

CachedDecoder::CachedDecoder(tensor::Context& context, const Parameters& parameters, const CachedDecoderSizes& sizes,
                             tensor::MemoryPlan& plan)
    : context_(context),
      own_weights_(std::make_unique<ParameterWeights>(parameters)),
      weights_(*own_weights_),
      sizes_(sizes),
      lengths_(static_cast<std::size_t>(sizes.sequences)) {
  plan_memory(plan);
}

void CachedDecoder::plan_memory(tensor::MemoryPlan& plan) {
  ATHANOR_ASSERT(sizes_.length_max >= 1 && sizes_.chunk_max >= 1 && sizes_.sequences >= 1);
  const Config& c = weights_.config();
  const std::int64_t T = sizes_.length_max, S = sizes_.sequences, N = std::min(sizes_.chunk_max, S * T),
                     C = c.hidden_size;
  const std::int64_t H = c.num_attention_heads, G = c.num_key_value_heads, D = c.head_dim, F = c.intermediate_size;
  const auto f32 = tensor::DType::kFloat32;
  for (std::int64_t l = 0; l < c.num_hidden_layers; ++l) {
    keys_.push_back(&plan.add("key/value cache", fmt::format("layer {} keys", l), f32, {S * T, G * D}));
    values_.push_back(&plan.add("key/value cache", fmt::format("layer {} values", l), f32, {S * T, G * D}));
  }
  const std::string group = "generation: activations";
  cos_ = &plan.add(group, "cos", f32, {T, D / 2});
  sin_ = &plan.add(group, "sin", f32, {T, D / 2});
  x_ = &plan.add(group, "x", f32, {N, C});
  normed_ = &plan.add(group, "normed", f32, {N, C});
  r_ = &plan.add(group, "r", f32, {std::max(N, S)});
  qkv_ = &plan.add(group, "qkv", f32, {N, (H + 2 * G) * D});
  attended_ = &plan.add(group, "attended", f32, {N, H * D});
  delta_ = &plan.add(group, "delta", f32, {N, C});
  gate_up_ = &plan.add(group, "gate_up", f32, {N, 2 * F});
  hidden_ = &plan.add(group, "hidden", f32, {N, F});
  scores_ = &plan.add(group, "scores", f32, {context_.threads(), T});
  scratch_ = &plan.add(group, "products", f32,
                       {tensor::stored_scratch_floats(std::max(N, S), std::max({C, H * D, F}), context_.threads())});
  lasts_ = &plan.add(group, "lasts", f32, {S, C});
  logits_ = &plan.add(group, "logits", f32, {S, c.vocab_size});
}

std::span<const float> CachedDecoder::step(std::span<const std::int32_t> tokens) {
  const Piece piece{0, tokens};
  return step({&piece, 1}).rows(0, 1).floats();
}

Tensor CachedDecoder::step(std::span<const Piece> pieces) {
  const Config& c = weights_.config();
  if (layers_.empty()) {
    tensor::rope_table(c.rope_theta, *cos_, *sin_, c.rope_scaling);
    for (std::int64_t l = 0; l < c.num_hidden_layers; ++l) layers_.push_back(weights_.layer(l));
    outer_ = weights_.outer();
  }
  rows_.clear();
  std::set<std::int64_t> seen;
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    const auto& [sequence, tokens] = pieces[p];
    const bool first = seen.insert(sequence).second;
    ATHANOR_ASSERT(first && !tokens.empty() &&
                   length(sequence) + static_cast<std::int64_t>(tokens.size()) <= sizes_.length_max);
    for (const std::int32_t token : tokens) {
      ATHANOR_ASSERT(token >= 0 && token < c.vocab_size);
      rows_.push_back({token, sequence, lengths_[static_cast<std::size_t>(sequence)]++, -1});
    }
    rows_.back().last_of = static_cast<std::int64_t>(p);
  }
  const auto chunk = static_cast<std::size_t>(x_->dim(0));
  for (std::size_t begin = 0; begin < rows_.size(); begin += chunk) {
    step_chunk(std::span<const Row>(rows_).subspan(begin, std::min(chunk, rows_.size() - begin)));
  }
  const auto count = static_cast<std::int64_t>(pieces.size());
  const Tensor logits = logits_->rows(0, count);
  stored_product(context_, lasts_->rows(0, count), outer_.head, logits, *scratch_);
  return logits;
}

// Puts keys and values into the cache, and attends to what the cache then has. Rows of one sequence stand together.
void CachedDecoder::attend(std::span<const Row> rows, std::int64_t layer, const Tensor& qkv, const Tensor& attended) {
  const Config& c = weights_.config();
  const std::int64_t H = c.num_attention_heads, G = c.num_key_value_heads, D = c.head_dim, T = sizes_.length_max;
  for (std::size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
    const Row& first = rows[begin];
    while (end < rows.size() && rows[end].sequence == first.sequence) ++end;
    const auto from = static_cast<std::int64_t>(begin), to = static_cast<std::int64_t>(end);
    const Tensor of_run = qkv.rows(from, to);
    rope(context_, of_run.columns(0, (H + G) * D), D, to - from, first.position, *cos_, *sin_, tensor::Turn::kForward);
    const Tensor keys =
        keys_[static_cast<std::size_t>(layer)]->rows(first.sequence * T, (first.sequence + 1) * T);  // (T, G·D)
    const Tensor values =
        values_[static_cast<std::size_t>(layer)]->rows(first.sequence * T, (first.sequence + 1) * T);  // (T, G·D)
    const std::int64_t end_position = first.position + to - from;
    copy(context_, of_run.columns(H * D, (H + G) * D), keys.rows(first.position, end_position));
    copy(context_, of_run.columns((H + G) * D, (H + 2 * G) * D), values.rows(first.position, end_position));
    const tensor::AttentionShape shape{1, end_position, H, G, D, c.window(layer)};
    attention_cached(context_, shape, first.position, of_run.columns(0, H * D), keys, values, attended.rows(from, to),
                     *scores_);
  }
}

void CachedDecoder::step_chunk(std::span<const Row> rows) {
  const Config& c = weights_.config();
  const std::int64_t N = static_cast<std::int64_t>(rows.size());
  const std::int64_t H = c.num_attention_heads, G = c.num_key_value_heads, D = c.head_dim;
  const auto eps = static_cast<float>(c.rms_norm_eps);
  const Tensor x = x_->rows(0, N);                // (N, C)
  const Tensor normed = normed_->rows(0, N);      // (N, C)
  const Tensor r = r_->rows(0, N);                // (N)
  const Tensor qkv = qkv_->rows(0, N);            // (N, (H+2G)·D)
  const Tensor attended = attended_->rows(0, N);  // (N, H·D)
  const Tensor delta = delta_->rows(0, N);        // (N, C)
  const Tensor gate_up = gate_up_->rows(0, N);    // (N, 2F)
  const Tensor hidden = hidden_->rows(0, N);      // (N, F)

  tokens_.clear();
  for (const Row& row : rows) tokens_.push_back(row.token);
  stored_rows(context_, outer_.embedding, tokens_, x);
  for (std::int64_t l = 0; l < c.num_hidden_layers; ++l) {
    const StoredLayer& w = layers_[static_cast<std::size_t>(l)];
    if (l == 0) rmsnorm_forward(context_, x, w.norm1, eps, normed, r);
    if (l != 0) add_rmsnorm_forward(context_, x, delta, w.norm1, eps, x, normed, r);

    stored_product(context_, normed, w.qkv, qkv, *scratch_);
    if (w.bias) bias_forward(context_, w.bias, qkv);
    if (w.q_norm) {
      const Tensor q = qkv.columns(0, H * D), k = qkv.columns(H * D, (H + G) * D);
      head_norm_forward(context_, q, w.q_norm, eps, q);
      head_norm_forward(context_, k, w.k_norm, eps, k);
    }
    attend(rows, l, qkv, attended);
    stored_product(context_, attended, w.o, delta, *scratch_);
    add_rmsnorm_forward(context_, x, delta, w.norm2, eps, x, normed, r);

    stored_product(context_, normed, w.gate_up, gate_up, *scratch_);
    swiglu_forward(context_, gate_up, hidden);
    stored_product(context_, hidden, w.down, delta, *scratch_);
  }
  add_rmsnorm_forward(context_, x, delta, outer_.norm, eps, x, normed, r);
  for (std::int64_t n = 0; n < N; ++n) {
    const std::int64_t piece = rows[static_cast<std::size_t>(n)].last_of;
    if (piece < 0) continue;
    copy(context_, normed.rows(n, n + 1), lasts_->rows(piece, piece + 1));
  }
}

}  // namespace athanor::model
