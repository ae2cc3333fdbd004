#include "engine/model/base.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "common/error.h"

namespace athanor::model {

using tensor::BlockType;
using tensor::DType;
using tensor::name_of;
using tensor::Tensor;
using tensor::Weight;

namespace {

constexpr const char* kNames[] = {"float32", "bfloat16", "q8_0", "q4_0"};

BlockType blocks_of(BaseType type) {
  ATHANOR_ASSERT(type != BaseType::kFloat32);
  return type == BaseType::kQ8_0 ? BlockType::kQ8_0 : type == BaseType::kQ4_0 ? BlockType::kQ4_0 : BlockType::kBF16;
}

// Rows [begin, end) of a weight.
Weight rows_of(const Weight& weight, std::int64_t begin, std::int64_t end) {
  if (weight.quantized()) return weight.blocks().rows(begin, end);
  return weight.dense().rows(begin, end);
}

}  // namespace

BaseType base_type_from(std::string_view text) {
  for (const BaseType type : {BaseType::kFloat32, BaseType::kBFloat16, BaseType::kQ8_0, BaseType::kQ4_0}) {
    if (text == name_of(type)) return type;
  }
  throw Error(ErrorKind::kInvalid,
              "'{}' is no type that frozen weights can be kept in; name float32, bfloat16, q8_0 or q4_0", text);
}

const char* name_of(BaseType type) { return kNames[static_cast<std::size_t>(type)]; }

Base::Base(const Config& config, const BaseTypes& types, tensor::MemoryPlan& plan) : config_(config), types_(types) {
  check(config);
  const BaseType type = types.matrices;
  if (type == BaseType::kFloat32 && types.activations != DType::kFloat32) {
    throw Error(ErrorKind::kInvalid,
                "Frozen weights of float32 cannot be multiplied with activations of {}: keep them in bfloat16, "
                "q8_0 or q4_0, or train in float32",
                name_of(types.activations));
  }
  const std::int64_t C = config.hidden_size, F = config.intermediate_size, V = config.vocab_size;
  const std::int64_t H = config.num_attention_heads, G = config.num_key_value_heads, D = config.head_dim;
  const auto matrix = [&](const std::string& name, BaseType as, std::int64_t rows, std::int64_t columns) -> Matrix {
    const std::string line = fmt::format("frozen weights, {}", name_of(as));
    if (is_dense(as)) return {&plan.add(line, name, types.activations, {rows, columns}), rows, columns};
    if (columns % tensor::kBlockElements != 0) {
      throw Error(ErrorKind::kInvalid,
                  "The model's {} has rows of {} numbers, which are no multiple of the {} of a block that {} is kept "
                  "in: keep the frozen weights in {}",
                  name, columns, tensor::kBlockElements, name_of(as), name_of(types.activations));
    }
    const std::int64_t bytes = rows * (columns / tensor::kBlockElements) * tensor::block_bytes(blocks_of(as));
    return {&plan.add(line, name, DType::kUInt8, {bytes}), rows, columns};
  };
  const auto vector = [&](const std::string& name, std::int64_t count) {
    return &plan.add("frozen norms and biases", name, types.activations, {count});
  };
  embedding_ = matrix("embedding", outer_type(), V, C);
  head_ = config.tie_word_embeddings ? embedding_ : matrix("head", outer_type(), V, C);
  norm_ = vector("norm", C);
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) {
    const auto name = [&](const char* what) { return fmt::format("layer {} {}", l, what); };
    layers_.push_back({
        .norm1 = vector(name("norm1"), C),
        .bias = config.qkv_bias() ? vector(name("bias"), (H + 2 * G) * D) : nullptr,
        .q_norm = config.qk_norm() ? vector(name("q_norm"), D) : nullptr,
        .k_norm = config.qk_norm() ? vector(name("k_norm"), D) : nullptr,
        .norm2 = vector(name("norm2"), C),
        .qkv = matrix(name("qkv"), type, (H + 2 * G) * D, C),
        .o = matrix(name("o"), type, C, H * D),
        .gate_up = matrix(name("gate_up"), type, 2 * F, C),
        .down = matrix(name("down"), type, C, F),
    });
  }
}

bool Base::is_dense(BaseType type) const {
  return type == (types_.activations == DType::kFloat32 ? BaseType::kFloat32 : BaseType::kBFloat16);
}

Weight Base::view(const Matrix& matrix, BaseType type) const {
  if (is_dense(type)) return *matrix.memory;
  return tensor::Quantized(blocks_of(type), matrix.rows, matrix.columns, matrix.memory->u8());
}

std::vector<Tensor> Base::buffers() const {
  std::vector<Tensor> all{*embedding_.memory, *norm_};
  if (head_.memory != embedding_.memory) all.push_back(*head_.memory);
  for (const Layer& l : layers_) {
    for (const Tensor* part :
         {l.norm1, l.bias, l.q_norm, l.k_norm, l.norm2, l.qkv.memory, l.o.memory, l.gate_up.memory, l.down.memory}) {
      if (part) all.push_back(*part);
    }
  }
  return all;
}

Weight Base::embedding() const { return view(embedding_, outer_type()); }
Weight Base::head() const { return view(head_, outer_type()); }

BaseLayer Base::layer(std::int64_t layer) const {
  const Layer& l = layers_[static_cast<std::size_t>(layer)];
  const auto vector = [](const Tensor* planned) { return planned ? *planned : Tensor(); };
  return {.norm1 = *l.norm1,
          .bias = vector(l.bias),
          .q_norm = vector(l.q_norm),
          .k_norm = vector(l.k_norm),
          .norm2 = *l.norm2,
          .qkv = view(l.qkv, type()),
          .o = view(l.o, type()),
          .gate_up = view(l.gate_up, type()),
          .down = view(l.down, type())};
}

Weight Base::find(std::string_view name) const {
  const auto missing = [&] { return Error(ErrorKind::kNotFound, "The model has no parameter named {}", name); };
  if (name == "model.embed_tokens.weight") return embedding();
  if (name == "model.norm.weight") return norm();
  if (name == "lm_head.weight" && !config_.tie_word_embeddings) return head();
  constexpr std::string_view kLayers = "model.layers.";
  if (!name.starts_with(kLayers)) throw missing();
  std::int64_t number = -1;
  const auto [rest, error] = std::from_chars(name.data() + kLayers.size(), name.data() + name.size(), number);
  if (error != std::errc() || number < 0 || number >= config_.num_hidden_layers) throw missing();
  const std::string_view part(rest, name.data() + name.size());
  const BaseLayer l = layer(number);
  const std::int64_t q = config_.num_attention_heads * config_.head_dim,
                     kv = config_.num_key_value_heads * config_.head_dim;
  const std::int64_t F = config_.intermediate_size;
  if (part == ".input_layernorm.weight") return l.norm1;
  if (part == ".self_attn.q_proj.weight") return rows_of(l.qkv, 0, q);
  if (part == ".self_attn.k_proj.weight") return rows_of(l.qkv, q, q + kv);
  if (part == ".self_attn.v_proj.weight") return rows_of(l.qkv, q + kv, q + 2 * kv);
  if (part == ".self_attn.q_proj.bias" && l.bias) return l.bias.rows(0, q);
  if (part == ".self_attn.k_proj.bias" && l.bias) return l.bias.rows(q, q + kv);
  if (part == ".self_attn.v_proj.bias" && l.bias) return l.bias.rows(q + kv, q + 2 * kv);
  if (part == ".self_attn.q_norm.weight" && l.q_norm) return l.q_norm;
  if (part == ".self_attn.k_norm.weight" && l.k_norm) return l.k_norm;
  if (part == ".self_attn.o_proj.weight") return l.o;
  if (part == ".post_attention_layernorm.weight") return l.norm2;
  if (part == ".mlp.gate_proj.weight") return rows_of(l.gate_up, 0, F);
  if (part == ".mlp.up_proj.weight") return rows_of(l.gate_up, F, 2 * F);
  if (part == ".mlp.down_proj.weight") return l.down;
  throw missing();
}

void Base::load(tensor::Context& context, ModelSource& source) {
  ATHANOR_ASSERT(source.model().config == config_);
  load(context, [&](const ParameterInfo& info, std::span<float> into) { source.read(info, into); });
}

void Base::load(tensor::Context& context, const std::function<void(const ParameterInfo&, std::span<float>)>& read) {
  std::vector<float> floats;
  const ParameterLayout layout(config_);
  for (const ParameterInfo& info : layout.all()) {
    const Weight place = find(info.name);
    if (!place.quantized() && place.dense().type() == DType::kFloat32) {
      read(info, place.dense().floats());
      continue;
    }
    floats.resize(static_cast<std::size_t>(info.count));
    read(info, floats);
    if (!place.quantized()) {
      std::ranges::transform(floats, place.dense().bf16(), [](float x) { return tensor::BFloat16(x); });
      continue;
    }
    try {
      quantize(context, Tensor(DType::kFloat32, info.shape, floats.data()), place.blocks());
    } catch (const Error& error) {
      throw Error(error.kind(), "Keeping {} in {}: {}", info.name, name_of(place.blocks().type()), error.what());
    }
  }
}

}  // namespace athanor::model
