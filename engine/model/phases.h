// The phases of a decoder's memory plan (tensor/memory_plan.h), in their order: embedding, the layers, the head, the layers
// backward, the embedding backward. What uses gradients comes after all of them.
#pragma once

#include <cstdint>

namespace athanor::model {

struct Phases {
  explicit constexpr Phases(std::int64_t layers) : layers(static_cast<int>(layers)) {}
  constexpr int embedding() const { return 0; }
  constexpr int forward(std::int64_t layer) const { return 1 + static_cast<int>(layer); }
  // The one that leaves the stream which the layer, or with `layer` = layers the head, takes.
  constexpr int before(std::int64_t layer) const { return forward(layer) - 1; }
  constexpr int head() const { return layers + 1; }
  constexpr int backward(std::int64_t layer) const { return 2 * layers + 1 - static_cast<int>(layer); }
  constexpr int end() const { return 2 * layers + 2; }
  int layers;
};

}  // namespace athanor::model
