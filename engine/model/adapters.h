// Low-rank adapters of a decoder's linear layers (linear.h): which there are, their parameters in one flat buffer with
// PEFT's names, and their gradients.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "engine/model/config.h"
#include "engine/model/flat_parameters.h"
#include "engine/model/layout.h"
#include "engine/model/linear.h"
#include "engine/tensor/memory_plan.h"

namespace athanor::model {

// The linear layers of a block that can have an adapter, in the order of the forward pass.
enum class LoraTarget : std::uint8_t { kQ, kK, kV, kO, kGate, kUp, kDown };
inline constexpr int kLoraTargets = 7;

struct LoraOptions {
  std::int64_t rank = 16;
  double alpha = 32;
  double dropout = 0;
  bool rank_stabilized = false;  // scale by alpha / √rank (Kalajdzievski 2023)
  std::array<bool, kLoraTargets> targets{true, true, true, true, true, true, true};

  double scale() const;
  bool operator==(const LoraOptions&) const = default;
};

// "q,k,v,o,gate,up,down" or any of them; also by their modules' names ("q_proj"). Throws kInvalid.
std::array<bool, kLoraTargets> lora_targets_from(std::string_view text);
const char* module_of(LoraTarget target);  // "q_proj"

// Throws kInvalid, naming the option.
void check(const LoraOptions& options);

// The order is that of the forward pass: for the layers that are one product all A, then all B.
class AdapterLayout : public Layout {
 public:
  AdapterLayout(const Config& config, const LoraOptions& options);
};

// Adapters of the layers that are one product each.
struct LayerLoras {
  Lora qkv, o, gate_up, down;
};

class Adapters : public FlatParameters {
 public:
  Adapters(const Config& config, const LoraOptions& options, const ParameterTypes& types, tensor::MemoryPlan& plan);

  const Config& config() const { return config_; }
  const LoraOptions& options() const { return options_; }

  // As PEFT does: A uniform within ±1/√in, B zero, so that the model begins as it was. The same on every machine.
  void initialize(std::uint64_t seed);

  LayerLoras layer(std::int64_t layer) const;

 private:
  Lora lora(std::size_t& at, std::initializer_list<LoraTarget> targets) const;

  Config config_;
  LoraOptions options_;
};

// The parameter's name of a layer's adapter; `matrix` is 'A' (rank, in) or 'B' (out, rank).
std::string adapter_name(std::int64_t layer, LoraTarget target, char matrix);

}  // namespace athanor::model
