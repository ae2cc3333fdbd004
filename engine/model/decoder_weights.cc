#include "engine/model/decoder_weights.h"

#include <algorithm>

#include "common/error.h"
#include "engine/model/pack_matrix.h"

namespace athanor::model {

namespace {

using tensor::StoredMatrix;
using tensor::Tensor;

std::string layer_name(std::int64_t layer, const char* part, const char* what = "weight") {
  return fmt::format("model.layers.{}.{}.{}", layer, part, what);
}

}  // namespace

Tensor ParameterWeights::widened(const Tensor& vector) const {
  if (!vector || vector.type() == tensor::DType::kFloat32) return vector;
  std::vector<float>& wide = widened_.emplace_back(vector.bfloats().begin(), vector.bfloats().end());
  return Tensor::of(wide.data(), {vector.count()});
}

StoredLayer ParameterWeights::layer(std::int64_t layer) const {
  const LayerViews views = parameters_.layout().layer(parameters_.values(), layer);
  return {.norm1 = widened(views.norm1),
          .qkv = {StoredMatrix::of(views.qkv)},
          .bias = widened(views.bias),
          .q_norm = widened(views.q_norm),
          .k_norm = widened(views.k_norm),
          .o = {StoredMatrix::of(views.o)},
          .norm2 = widened(views.norm2),
          .gate_up = {StoredMatrix::of(views.gate_up)},
          .down = {StoredMatrix::of(views.down)}};
}

StoredOuter ParameterWeights::outer() const {
  const OuterViews views = parameters_.layout().outer(parameters_.values());
  return {.embedding = StoredMatrix::of(views.embedding),
          .norm = widened(views.norm),
          .head = {StoredMatrix::of(views.head)}};
}

PackedWeights::PackedWeights(ModelSource& source, tensor::MemoryPlan& plan)
    : source_(source), config_(source.model().config) {
  const ParameterLayout layout(config_);
  for (const ParameterInfo& info : layout.all()) {
    Entry entry{.info = info, .matrix = {}, .memory = nullptr};
    if (info.shape.size() == 1) {
      const bool continues = info.name.ends_with("k_proj.bias") || info.name.ends_with("v_proj.bias");
      const std::int64_t H = config_.num_attention_heads, G = config_.num_key_value_heads, D = config_.head_dim;
      entry.matrix.rows = info.name.ends_with("q_proj.bias") ? (H + 2 * G) * D : info.count;
      if (!continues) entry.memory = &plan.add("weights", info.name, tensor::DType::kFloat32, {entry.matrix.rows});
    } else {
      const auto stored = source.stored(info);
      entry.matrix = stored ? packed_kind(*stored, info.shape[0], info.shape[1])
                            : StoredMatrix{.rows = info.shape[0], .columns = info.shape[1]};
      entry.memory = &plan.add("weights", info.name, tensor::DType::kUInt8, {entry.matrix.bytes()});
    }
    by_name_[info.name] = entries_.size();
    entries_.push_back(std::move(entry));
  }
}

void PackedWeights::load() {
  float* vector_end = nullptr;  // of the vector before
  for (Entry& entry : entries_) {
    if (entry.info.shape.size() == 1) {
      float* const into = entry.memory ? entry.memory->f32() : vector_end;
      source_.read(entry.info, {into, static_cast<std::size_t>(entry.info.count)});
      vector_end = into + entry.info.count;
      continue;
    }
    const std::span<std::uint8_t> into(entry.memory->u8(), static_cast<std::size_t>(entry.matrix.bytes()));
    if (const auto stored = source_.stored(entry.info)) {
      pack_matrix(*stored, entry.matrix, into);
    } else {
      source_.read(entry.info, {reinterpret_cast<float*>(into.data()), static_cast<std::size_t>(entry.info.count)});
    }
    entry.matrix.data = entry.memory->data();
  }
}

const PackedWeights::Entry& PackedWeights::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  ATHANOR_ASSERT(found != by_name_.end());
  return entries_[found->second];
}

Tensor PackedWeights::vector(const std::string& name) const { return *find(name).memory; }

StoredMatrix PackedWeights::matrix(const std::string& name) const {
  const StoredMatrix& found = find(name).matrix;
  ATHANOR_ASSERT(found.data != nullptr);
  return found;
}

StoredLayer PackedWeights::layer(std::int64_t layer) const {
  const auto of = [&](const char* part) { return matrix(layer_name(layer, part)); };
  StoredLayer weights{.norm1 = vector(layer_name(layer, "input_layernorm")),
                      .qkv = {of("self_attn.q_proj"), of("self_attn.k_proj"), of("self_attn.v_proj")},
                      .bias = {},
                      .q_norm = {},
                      .k_norm = {},
                      .o = {of("self_attn.o_proj")},
                      .norm2 = vector(layer_name(layer, "post_attention_layernorm")),
                      .gate_up = {of("mlp.gate_proj"), of("mlp.up_proj")},
                      .down = {of("mlp.down_proj")}};
  if (config_.qkv_bias()) weights.bias = vector(layer_name(layer, "self_attn.q_proj", "bias"));
  if (config_.qk_norm()) {
    weights.q_norm = vector(layer_name(layer, "self_attn.q_norm"));
    weights.k_norm = vector(layer_name(layer, "self_attn.k_norm"));
  }
  return weights;
}

StoredOuter PackedWeights::outer() const {
  return {.embedding = matrix("model.embed_tokens.weight"),
          .norm = vector("model.norm.weight"),
          .head = {matrix(config_.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight")}};
}

}  // namespace athanor::model
