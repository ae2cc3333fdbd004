#include "engine/model/parameters.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/error.h"
#include "common/random.h"

namespace athanor::model {

namespace {

constexpr std::int64_t kAlignment = 16;  // elements: a vector of floats, and more than one of bfloat16

std::string layer_name(std::int64_t layer, std::string_view part, std::string_view kind = "weight") {
  return fmt::format("model.layers.{}.{}.{}", layer, part, kind);
}

// What begins `offset` elements into a flat buffer.
tensor::Tensor part(const tensor::Tensor& flat, std::int64_t offset, std::span<const std::int64_t> shape) {
  return {flat.type(), shape, static_cast<char*>(flat.data()) + offset * static_cast<std::int64_t>(size_of(flat.type()))};
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
    const auto group = [&](std::int64_t LayerOffsets::*offset) {
      align();
      if (l == 0) offsets_.*offset = size_ - layers_begin_;
    };
    align();
    if (l == 0) layers_begin_ = size_;
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
  return part(flat, info.offset, info.shape);
}

LayerViews ParameterLayout::layer(const tensor::Tensor& flat, std::int64_t layer) const {
  ATHANOR_ASSERT(flat.dim(0) == size_ && layer >= 0 && layer < config_.num_hidden_layers);
  const std::int64_t C = config_.hidden_size, F = config_.intermediate_size, D = config_.head_dim;
  const std::int64_t H = config_.num_attention_heads, G = config_.num_key_value_heads;
  const auto view = [&](std::int64_t offset, std::initializer_list<std::int64_t> shape) {
    return part(flat, layers_begin_ + layer * offsets_.end + offset, {shape.begin(), shape.size()});
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
  const ParameterInfo& norm = all_[all_.size() - (config_.tie_word_embeddings ? 1 : 2)];
  const ParameterInfo& head = config_.tie_word_embeddings ? all_.front() : all_.back();
  return {.embedding = view(flat, all_.front()), .norm = view(flat, norm), .head = view(flat, head)};
}

Parameters::Parameters(const Config& config, const ParameterTypes& types, tensor::MemoryPlan& plan)
    : config_(config),
      layout_(config),
      values_(&plan.add("parameters", "parameters", types.values, {layout_.size()})) {
  ATHANOR_ASSERT(types.values == tensor::DType::kFloat32 || types.values == tensor::DType::kBFloat16);
  if (types.masters && types.values == tensor::DType::kBFloat16) {
    remainders_ = &plan.add("parameters", "remainders of masters", tensor::DType::kInt16, {layout_.size()});
  }
  if (types.gradients) gradients_ = &plan.add("gradients", "gradients", *types.gradients, {layout_.size()});
}

const tensor::Tensor& Parameters::gradients() const {
  ATHANOR_ASSERT(gradients_);
  return *gradients_;
}

void Parameters::set(const ParameterInfo& info, std::int64_t first, std::span<const float> from) {
  const auto count = static_cast<std::int64_t>(from.size());
  ATHANOR_ASSERT(first >= 0 && first + count <= info.count);
  const std::int64_t begin = info.offset + first;
  if (type() == tensor::DType::kFloat32) {
    std::ranges::copy(from, values_->f32() + begin);
  } else if (remainders_) {
    const tensor::Tensor floats = tensor::Tensor::of(const_cast<float*>(from.data()), {count});  // only read
    split_masters(floats, {values_->rows(begin, begin + count), remainders_->rows(begin, begin + count)});
  } else {
    std::ranges::transform(from, values_->bf16() + begin, [](float x) { return tensor::BFloat16(x); });
  }
}

void Parameters::get(const ParameterInfo& info, std::int64_t first, std::span<float> into) const {
  const auto count = static_cast<std::int64_t>(into.size());
  ATHANOR_ASSERT(first >= 0 && first + count <= info.count);
  const std::int64_t begin = info.offset + first;
  if (type() == tensor::DType::kFloat32) {
    std::copy_n(values_->f32() + begin, count, into.begin());
  } else if (remainders_) {
    join_masters({values_->rows(begin, begin + count), remainders_->rows(begin, begin + count)},
                 tensor::Tensor::of(into.data(), {count}));
  } else {
    std::copy_n(values_->bf16() + begin, count, into.begin());
  }
}

void Parameters::initialize(std::uint64_t seed) {
  constexpr std::int64_t kAtOnce = 4096;  // even: normal numbers come in pairs
  std::vector<float> values(kAtOnce);
  for (const ParameterInfo& info : layout_.all()) {
    SeededRandom random(seed ^ hash_of(info.name));
    for (std::int64_t first = 0; first < info.count; first += kAtOnce) {
      values.resize(static_cast<std::size_t>(std::min(kAtOnce, info.count - first)));
      if (info.shape.size() == 1) {
        std::ranges::fill(values, info.name.ends_with(".bias") ? 0.0F : 1.0F);
      } else {
        // Two normal numbers from two uniform ones (Box and Muller 1958).
        for (std::size_t i = 0; i < values.size(); i += 2) {
          const double radius = std::sqrt(-2 * std::log(1 - random.uniform())) * config_.initializer_range;
          const double angle = 2 * std::numbers::pi * random.uniform();
          values[i] = static_cast<float>(radius * std::cos(angle));
          if (i + 1 < values.size()) values[i + 1] = static_cast<float>(radius * std::sin(angle));
        }
      }
      set(info, first, values);
      values.resize(kAtOnce);
    }
  }
}

}  // namespace athanor::model
