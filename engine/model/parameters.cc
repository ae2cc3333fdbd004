#include "engine/model/parameters.h"

#include <cmath>
#include <numbers>

#include "common/error.h"
#include "common/random.h"

namespace athanor::model {

namespace {

constexpr std::int64_t kAlignment = 16;  // floats: 64 bytes

std::string layer_name(std::int64_t layer, std::string_view part) {
  return fmt::format("model.layers.{}.{}.weight", layer, part);
}

// FNV-1a: a number for a name, the same everywhere.
std::uint64_t hash_of(std::string_view name) {
  std::uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return hash;
}

}  // namespace

ParameterLayout::ParameterLayout(const Config& config) : config_(config) {
  check(config);
  const std::int64_t C = config.hidden_size, F = config.intermediate_size, V = config.vocab_size;
  const std::int64_t H = config.num_attention_heads, G = config.num_key_value_heads, D = config.head_dim;
  add("model.embed_tokens.weight", {V, C});
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) {
    align();
    add(layer_name(l, "input_layernorm"), {C});
    align();
    add(layer_name(l, "self_attn.q_proj"), {H * D, C});
    add(layer_name(l, "self_attn.k_proj"), {G * D, C});
    add(layer_name(l, "self_attn.v_proj"), {G * D, C});
    align();
    add(layer_name(l, "self_attn.o_proj"), {C, H * D});
    align();
    add(layer_name(l, "post_attention_layernorm"), {C});
    align();
    add(layer_name(l, "mlp.gate_proj"), {F, C});
    add(layer_name(l, "mlp.up_proj"), {F, C});
    align();
    add(layer_name(l, "mlp.down_proj"), {C, F});
  }
  align();
  add("model.norm.weight", {C});
  align();
  if (!config.tie_word_embeddings) add("lm_head.weight", {V, C});
  align();
}

const ParameterInfo& ParameterLayout::add(const std::string& name, std::vector<std::int64_t> shape) {
  ParameterInfo& info = all_.emplace_back();
  info.name = name;
  info.count = 1;
  for (const std::int64_t size : shape) info.count *= size;
  info.decays = shape.size() > 1;
  info.shape = std::move(shape);
  info.offset = size_;
  size_ += info.count;
  return info;
}

void ParameterLayout::align() { size_ = (size_ + kAlignment - 1) / kAlignment * kAlignment; }

const ParameterInfo& ParameterLayout::find(std::string_view name) const {
  for (const ParameterInfo& info : all_) {
    if (info.name == name) return info;
  }
  throw Error(ErrorKind::kNotFound, "The model has no parameter named {}", name);
}

tensor::Tensor ParameterLayout::view(const tensor::Tensor& flat, const ParameterInfo& info) const {
  ATHANOR_ASSERT(flat.rank() == 1 && flat.dim(0) == size_);
  return {tensor::DType::kFloat32, info.shape, flat.f32() + info.offset};
}

LayerViews ParameterLayout::layer(const tensor::Tensor& flat, std::int64_t layer) const {
  ATHANOR_ASSERT(flat.dim(0) == size_ && layer >= 0 && layer < config_.num_hidden_layers);
  const std::int64_t C = config_.hidden_size, F = config_.intermediate_size, D = config_.head_dim;
  const std::int64_t H = config_.num_attention_heads, G = config_.num_key_value_heads;
  constexpr std::size_t kOfLayer = 9;
  const ParameterInfo* first = &all_[1 + static_cast<std::size_t>(layer) * kOfLayer];
  const auto at = [&](int i) { return flat.f32() + first[i].offset; };
  return {
      .norm1 = tensor::Tensor::of(at(0), {C}),
      .qkv = tensor::Tensor::of(at(1), {(H + 2 * G) * D, C}),
      .o = tensor::Tensor::of(at(4), {C, H * D}),
      .norm2 = tensor::Tensor::of(at(5), {C}),
      .gate_up = tensor::Tensor::of(at(6), {2 * F, C}),
      .down = tensor::Tensor::of(at(8), {C, F}),
  };
}

OuterViews ParameterLayout::outer(const tensor::Tensor& flat) const {
  const ParameterInfo& norm = all_[all_.size() - (config_.tie_word_embeddings ? 1 : 2)];
  const ParameterInfo& head = config_.tie_word_embeddings ? all_.front() : all_.back();
  return {.embedding = view(flat, all_.front()), .norm = view(flat, norm), .head = view(flat, head)};
}

Parameters::Parameters(const Config& config, bool with_gradients, tensor::MemoryPlan& plan)
    : config_(config),
      layout_(config),
      values_(&plan.add("parameters", "parameters", tensor::DType::kFloat32, {layout_.size()})) {
  if (with_gradients) {
    gradients_ = &plan.add("gradients", "gradients", tensor::DType::kFloat32, {layout_.size()});
  }
}

const tensor::Tensor& Parameters::gradients() const {
  ATHANOR_ASSERT(gradients_);
  return *gradients_;
}

void Parameters::initialize(std::uint64_t seed) {
  for (const ParameterInfo& info : layout_.all()) {
    const tensor::Tensor tensor = layout_.view(values(), info);
    if (info.shape.size() == 1) {
      for (float& value : tensor.floats()) value = 1;
      continue;
    }
    SeededRandom random(seed ^ hash_of(info.name));
    // Two normal numbers from two uniform ones (Box and Muller 1958).
    const std::span<float> values = tensor.floats();
    for (std::size_t i = 0; i < values.size(); i += 2) {
      const double radius = std::sqrt(-2 * std::log(1 - random.uniform())) * config_.initializer_range;
      const double angle = 2 * std::numbers::pi * random.uniform();
      values[i] = static_cast<float>(radius * std::cos(angle));
      if (i + 1 < values.size()) values[i + 1] = static_cast<float>(radius * std::sin(angle));
    }
  }
}

}  // namespace athanor::model
