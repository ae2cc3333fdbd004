#include "engine/model/adapters.h"

#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "common/random.h"

namespace athanor::model {

namespace {

constexpr std::int64_t kRankMax = 4096;
constexpr const char* kNames[kLoraTargets] = {"q", "k", "v", "o", "gate", "up", "down"};
constexpr const char* kModules[kLoraTargets] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                "gate_proj", "up_proj", "down_proj"};
constexpr std::initializer_list<LoraTarget> kQkv = {LoraTarget::kQ, LoraTarget::kK, LoraTarget::kV},
                                            kO = {LoraTarget::kO}, kGateUp = {LoraTarget::kGate, LoraTarget::kUp},
                                            kDown = {LoraTarget::kDown};

struct Shape {
  std::int64_t out, in;
};

Shape shape_of(const Config& c, LoraTarget target) {
  const std::int64_t C = c.hidden_size, F = c.intermediate_size, D = c.head_dim;
  switch (target) {
    case LoraTarget::kQ: return {c.num_attention_heads * D, C};
    case LoraTarget::kK:
    case LoraTarget::kV: return {c.num_key_value_heads * D, C};
    case LoraTarget::kO: return {C, c.num_attention_heads * D};
    case LoraTarget::kGate:
    case LoraTarget::kUp: return {F, C};
    case LoraTarget::kDown: return {C, F};
  }
  return {};
}

}  // namespace

std::string adapter_name(std::int64_t layer, LoraTarget target, char matrix) {
  const char* part = target <= LoraTarget::kO ? "self_attn" : "mlp";
  return fmt::format("base_model.model.model.layers.{}.{}.{}.lora_{}.weight", layer, part, module_of(target), matrix);
}

double LoraOptions::scale() const {
  const auto r = static_cast<double>(rank);
  return alpha / (rank_stabilized ? std::sqrt(r) : r);
}

const char* module_of(LoraTarget target) { return kModules[static_cast<int>(target)]; }

std::array<bool, kLoraTargets> lora_targets_from(std::string_view text) {
  std::array<bool, kLoraTargets> targets{};
  bool any = false;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    bool found = false;
    for (std::size_t i = 0; i < targets.size(); ++i) {
      if (word == kNames[i] || word == kModules[i]) any = found = targets[i] = true;
    }
    if (!found) {
      throw Error(ErrorKind::kInvalid, "'{}' is no layer that can have an adapter; name some of q,k,v,o,gate,up,down",
                  word);
    }
  }
  if (!any) throw Error(ErrorKind::kInvalid, "No layer is to have an adapter; name some of q,k,v,o,gate,up,down");
  return targets;
}

void check(const LoraOptions& options) {
  if (options.rank < 1 || options.rank > kRankMax) {
    throw Error(ErrorKind::kInvalid, "The rank of an adapter must lie between 1 and {}, and is {}", kRankMax,
                options.rank);
  }
  if (!std::isfinite(options.alpha) || options.alpha <= 0) {
    throw Error(ErrorKind::kInvalid, "The alpha of an adapter must be above 0, and is {}", options.alpha);
  }
  if (!(options.dropout >= 0 && options.dropout < 1)) {
    throw Error(ErrorKind::kInvalid, "The dropout of an adapter must be at least 0 and below 1, and is {}",
                options.dropout);
  }
}

AdapterLayout::AdapterLayout(const Config& config, const LoraOptions& options) {
  check(options);
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) {
    for (const auto& group : {kQkv, kO, kGateUp, kDown}) {
      align();
      for (const LoraTarget target : group) {
        if (!options.targets[static_cast<std::size_t>(target)]) continue;
        add(adapter_name(l, target, 'A'), {options.rank, shape_of(config, target).in});
      }
      align();
      for (const LoraTarget target : group) {
        if (!options.targets[static_cast<std::size_t>(target)]) continue;
        add(adapter_name(l, target, 'B'), {shape_of(config, target).out, options.rank});
      }
    }
  }
  align();
}

Adapters::Adapters(const Config& config, const LoraOptions& options, const ParameterTypes& types,
                   tensor::MemoryPlan& plan)
    : FlatParameters(AdapterLayout(config, options), "adapters", types, plan), config_(config), options_(options) {}

void Adapters::initialize(std::uint64_t seed) {
  std::vector<float> numbers;
  for (const ParameterInfo& info : layout().all()) {
    numbers.assign(static_cast<std::size_t>(info.count), 0.0F);
    if (info.name.ends_with("lora_A.weight")) {
      const double limit = 1 / std::sqrt(static_cast<double>(info.shape[1]));
      SeededRandom random(seed ^ hash_of(info.name));
      for (float& number : numbers) number = static_cast<float>((2 * random.uniform() - 1) * limit);
    }
    set(info, 0, numbers);
  }
}

// All layers have the same entries in the same order; those of a group of `targets` begin at entry `at`, which moves on.
Lora Adapters::lora(std::size_t& at, std::initializer_list<LoraTarget> targets) const {
  Lora lora;
  lora.scale = static_cast<float>(options_.scale());
  const auto has = [&](LoraTarget target) { return options_.targets[static_cast<std::size_t>(target)]; };
  const auto count = static_cast<std::size_t>(std::ranges::count_if(targets, has));
  if (count == 0) return lora;
  const ParameterInfo& a = layout().all()[at];  // and the A of the others after it
  const std::int64_t shape[] = {static_cast<std::int64_t>(count) * a.shape[0], a.shape[1]};
  lora.a = part_of(values(), a.offset, shape);
  if (with_gradients()) lora.d_a = part_of(gradients(), a.offset, shape);
  at += count;
  std::int64_t column = 0;
  for (const LoraTarget target : targets) {
    const std::int64_t begin = column;
    column += shape_of(config_, target).out;
    if (!has(target)) continue;
    const ParameterInfo& b = layout().all()[at++];
    lora.parts[static_cast<std::size_t>(lora.count++)] = {layout().view(values(), b),
                                                          with_gradients() ? layout().view(gradients(), b)
                                                                           : tensor::Tensor(),
                                                          begin, column};
  }
  return lora;
}

LayerLoras Adapters::layer(std::int64_t layer) const {
  const std::size_t per_layer = layout().all().size() / static_cast<std::size_t>(config_.num_hidden_layers);
  std::size_t at = static_cast<std::size_t>(layer) * per_layer;
  LayerLoras loras;
  loras.qkv = lora(at, kQkv);
  loras.o = lora(at, kO);
  loras.gate_up = lora(at, kGateUp);
  loras.down = lora(at, kDown);
  return loras;
}

}  // namespace athanor::model
