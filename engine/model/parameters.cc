#include "engine/model/parameters.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/error.h"
#include "common/random.h"
#include "engine/model/phases.h"

namespace athanor::model {

namespace {

std::string layer_name(std::int64_t layer, std::string_view part, std::string_view kind = "weight") {
  return fmt::format("model.layers.{}.{}.{}", layer, part, kind);
}

}  // namespace

ParameterLayout::ParameterLayout(const Config& config) : config_(config) {
  check(config);
  const std::int64_t C = config.hidden_size, F = config.intermediate_size, V = config.vocab_size;
  const std::int64_t H = config.num_attention_heads, G = config.num_key_value_heads, D = config.head_dim;
  add("model.embed_tokens.weight", {V, C});
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) {
    const auto group = [&](std::int64_t LayerOffsets::*offset) {
      align();
      if (l == 0) offsets_.*offset = size() - layers_begin_;
    };
    align();
    if (l == 0) layers_begin_ = size();
    group(&LayerOffsets::norm1);
    add(layer_name(l, "input_layernorm"), {C});
    group(&LayerOffsets::qkv);
    add(layer_name(l, "self_attn.q_proj"), {H * D, C});
    add(layer_name(l, "self_attn.k_proj"), {G * D, C});
    add(layer_name(l, "self_attn.v_proj"), {G * D, C});
    if (config.qkv_bias()) {
      group(&LayerOffsets::bias);
      add(layer_name(l, "self_attn.q_proj", "bias"), {H * D});
      add(layer_name(l, "self_attn.k_proj", "bias"), {G * D});
      add(layer_name(l, "self_attn.v_proj", "bias"), {G * D});
    }
    if (config.qk_norm()) {
      group(&LayerOffsets::q_norm);
      add(layer_name(l, "self_attn.q_norm"), {D});
      group(&LayerOffsets::k_norm);
      add(layer_name(l, "self_attn.k_norm"), {D});
    }
    group(&LayerOffsets::o);
    add(layer_name(l, "self_attn.o_proj"), {C, H * D});
    group(&LayerOffsets::norm2);
    add(layer_name(l, "post_attention_layernorm"), {C});
    group(&LayerOffsets::gate_up);
    add(layer_name(l, "mlp.gate_proj"), {F, C});
    add(layer_name(l, "mlp.up_proj"), {F, C});
    group(&LayerOffsets::down);
    add(layer_name(l, "mlp.down_proj"), {C, F});
    group(&LayerOffsets::end);
  }
  add("model.norm.weight", {C});
  align();
  if (!config.tie_word_embeddings) add("lm_head.weight", {V, C});
  align();
}

LayerViews ParameterLayout::layer(const tensor::Tensor& flat, std::int64_t layer) const {
  ATHANOR_ASSERT(flat.dim(0) == size() && layer >= 0 && layer < config_.num_hidden_layers);
  const std::int64_t C = config_.hidden_size, F = config_.intermediate_size, D = config_.head_dim;
  const std::int64_t H = config_.num_attention_heads, G = config_.num_key_value_heads;
  const auto view = [&](std::int64_t offset, std::initializer_list<std::int64_t> shape) {
    return part_of(flat, layers_begin_ + layer * offsets_.end + offset, {shape.begin(), shape.size()});
  };
  LayerViews views{
      .norm1 = view(offsets_.norm1, {C}),
      .qkv = view(offsets_.qkv, {(H + 2 * G) * D, C}),
      .bias = {},
      .q_norm = {},
      .k_norm = {},
      .o = view(offsets_.o, {C, H * D}),
      .norm2 = view(offsets_.norm2, {C}),
      .gate_up = view(offsets_.gate_up, {2 * F, C}),
      .down = view(offsets_.down, {C, F}),
  };
  if (config_.qkv_bias()) views.bias = view(offsets_.bias, {(H + 2 * G) * D});
  if (config_.qk_norm()) {
    views.q_norm = view(offsets_.q_norm, {D});
    views.k_norm = view(offsets_.k_norm, {D});
  }
  return views;
}

OuterViews ParameterLayout::outer(const tensor::Tensor& flat) const {
  const ParameterInfo& norm = all()[all().size() - (config_.tie_word_embeddings ? 1 : 2)];
  const ParameterInfo& head = config_.tie_word_embeddings ? all().front() : all().back();
  return {.embedding = view(flat, all().front()), .norm = view(flat, norm), .head = view(flat, head)};
}

tensor::Tensor ParameterLayout::whole_layer(const tensor::Tensor& flat, std::int64_t layer) const {
  ATHANOR_ASSERT(layer >= 0 && layer < config_.num_hidden_layers);
  const std::int64_t begin = layers_begin_ + layer * offsets_.end;
  return flat.rows(begin, begin + offsets_.end);
}

tensor::Tensor ParameterLayout::before_layers(const tensor::Tensor& flat) const { return flat.rows(0, layers_begin_); }

tensor::Tensor ParameterLayout::after_layers(const tensor::Tensor& flat) const {
  return flat.rows(layers_begin_ + config_.num_hidden_layers * offsets_.end, size());
}

std::vector<tensor::LivingPart> ParameterLayout::gradient_parts() const {
  const std::int64_t L = config_.num_hidden_layers;
  const Phases phases(L);
  const auto from = [](int phase) { return tensor::Lifetime{phase, tensor::Lifetime::always().last}; };
  std::vector<tensor::LivingPart> parts{
      {layers_begin_, from(config_.tie_word_embeddings ? phases.head() : phases.end())}};
  for (std::int64_t l = 0; l < L; ++l) parts.push_back({offsets_.end, from(phases.backward(l))});
  parts.push_back({size() - layers_begin_ - L * offsets_.end, from(phases.head())});
  return parts;
}

Parameters::Parameters(const Config& config, const ParameterTypes& types, tensor::MemoryPlan& plan)
    : FlatParameters(ParameterLayout(config), "parameters", types, plan,
                     types.gradients_anew ? ParameterLayout(config).gradient_parts()
                                          : std::vector<tensor::LivingPart>()),
      config_(config),
      layout_(config),
      gradients_anew_(types.gradients_anew) {}

InitialNumbers::InitialNumbers(const Config& config, const ParameterInfo& info, std::uint64_t seed)
    : random_(seed ^ hash_of(info.name)),
      deviation_(config.initializer_range),
      normal_(info.shape.size() > 1),
      constant_(info.name.ends_with(".bias") ? 0.0F : 1.0F) {}

void InitialNumbers::next(std::span<float> into) {
  if (!normal_) {
    std::ranges::fill(into, constant_);
    return;
  }
  // Two normal numbers from two uniform ones (Box and Muller 1958).
  for (std::size_t i = 0; i < into.size(); i += 2) {
    const double radius = std::sqrt(-2 * std::log(1 - random_.uniform())) * deviation_;
    const double angle = 2 * std::numbers::pi * random_.uniform();
    into[i] = static_cast<float>(radius * std::cos(angle));
    if (i + 1 < into.size()) into[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
}

void Parameters::initialize(std::uint64_t seed) {
  constexpr std::int64_t kAtOnce = 4096;
  std::vector<float> numbers(kAtOnce);
  for (const ParameterInfo& info : layout_.all()) {
    InitialNumbers initial(config_, info, seed);
    for (std::int64_t first = 0; first < info.count; first += kAtOnce) {
      const auto part = std::span(numbers).first(static_cast<std::size_t>(std::min(kAtOnce, info.count - first)));
      initial.next(part);
      set(info, first, part);
    }
  }
}

}  // namespace athanor::model
