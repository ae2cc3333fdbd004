// How fast matrix products are on this machine, for every shape of a training step of SmolLM2-135M at batch 2 x 512.
//
//   matmul-shapes [ROUNDS]
//
// Prints GFLOP/s for each shape, the peak (a large product, measured in the same rounds) and, for the whole step, the
// fraction of the peak that its products reach. Times are the least of the rounds, which take turns among the shapes.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/error.h"
#include "engine/tensor/available_memory.h"
#include "engine/tensor/cpu/kernels.h"
#include "engine/tensor/matmul.h"
#include "engine/tensor/memory_plan.h"

namespace athanor::tensor {
namespace {

constexpr std::int64_t kRows = 1024;  // tokens of a step
constexpr std::int64_t kChunk = 128;  // rows of logits at a time

enum class Kind { kForward, kInputGradient, kWeightGradient };
constexpr const char* kKinds[] = {"forward", "input gradient", "weight gradient"};

// y (rows, out) = x (rows, in) · Wᵀ and its gradients.
struct Layer {
  const char* name;
  std::int64_t rows, in, out;
  int times;  // in a step
};
constexpr Layer kLayers[] = {{"peak (not of the step)", 2048, 2048, 2048, 0},
                             {"qkv", kRows, 576, 960, 30},
                             {"o", kRows, 576, 576, 30},
                             {"gate_up", kRows, 576, 3072, 30},
                             {"down", kRows, 1536, 576, 30},
                             {"head", kChunk, 576, 49152, kRows / kChunk}};

struct Product {
  const Layer* layer;
  Kind kind;
  Tensor x, w, y, dy, dx, dw;
  double seconds = 1e9;

  double flops() const { return 2.0 * static_cast<double>(layer->rows * layer->in * layer->out); }

  void run(Context& context, Clock& clock) {
    const std::int64_t begin_ns = clock.monotonic_ns();
    switch (kind) {
      case Kind::kForward: matmul(context, x, w.transposed(), y); break;
      case Kind::kInputGradient: matmul(context, dy, w, dx); break;
      case Kind::kWeightGradient: matmul(context, dy.transposed(), x, dw, Into::kAdd); break;
    }
    seconds = std::min(seconds, 1e-9 * static_cast<double>(clock.monotonic_ns() - begin_ns));
  }
};

void fill(const Tensor& x) {
  for (std::int64_t i = 0; i < x.dim(0); ++i) {
    for (std::int64_t j = 0; j < x.dim(1); ++j) {
      const float value = static_cast<float>((i * 7 + j * 3) % 17 - 8) / 64;
      if (x.type() == DType::kBFloat16) {
        x.bf16()[i * x.stride(0) + j] = BFloat16(value);
      } else {
        x.f32()[i * x.stride(0) + j] = value;
      }
    }
  }
}

void measure(Context& context, DType type, int rounds) {
  SystemClock clock;
  MemoryPlan plan;
  std::vector<std::array<const Tensor*, 6>> tensors;
  for (const Layer& layer : kLayers) {
    tensors.push_back({&plan.add_rows("x", layer.name, type, layer.rows, layer.in),
                       &plan.add("w", layer.name, type, {layer.out, layer.in}),
                       &plan.add_rows("y", layer.name, type, layer.rows, layer.out),
                       &plan.add_rows("dy", layer.name, type, layer.rows, layer.out),
                       &plan.add_rows("dx", layer.name, type, layer.rows, layer.in),
                       &plan.add("dw", layer.name, DType::kFloat32, {layer.out, layer.in})});
  }
  plan.allocate(available_memory_bytes(), "Take a machine with more memory");
  std::vector<Product> products;
  for (std::size_t i = 0; i < std::size(kLayers); ++i) {
    const auto& [x, w, y, dy, dx, dw] = tensors[i];
    for (const Tensor* tensor : {x, w, dy}) fill(*tensor);
    for (const Kind kind : {Kind::kForward, Kind::kInputGradient, Kind::kWeightGradient}) {
      products.push_back({&kLayers[i], kind, *x, *w, *y, *dy, *dx, *dw});
    }
  }
  for (int round = 0; round < rounds; ++round) {
    for (Product& product : products) product.run(context, clock);
  }
  double peak = 0, flops = 0, seconds = 0;
  for (const Product& product : products) {
    if (product.layer->times == 0) peak = std::max(peak, product.flops() / product.seconds / 1e9);
    flops += product.flops() * product.layer->times;
    seconds += product.seconds * product.layer->times;
  }
  fmt::print("{} on {}, {} threads\n", name_of(type), cpu::kernels().name, context.threads());
  for (const Product& product : products) {
    const double speed = product.flops() / product.seconds / 1e9;
    fmt::print("  {:<24}{:<18}{:>6} x {:>5} x {:>5}{:>10.1f} GFLOP/s{:>6.0f}%\n", product.layer->name,
               kKinds[static_cast<int>(product.kind)], product.layer->rows, product.layer->in, product.layer->out,
               speed, 100 * speed / peak);
  }
  fmt::print("figure {}_peak {:.1f} GFLOP/s\n", name_of(type), peak);
  fmt::print("figure {}_step_products {:.3f} of the peak\n", name_of(type), flops / seconds / 1e9 / peak);
}

}  // namespace
}  // namespace athanor::tensor

int main(int count, char** words) {
  try {
    athanor::tensor::Context context;
    const int rounds = count > 1 ? std::max(1, std::atoi(words[1])) : 10;
    for (const auto type : {athanor::tensor::DType::kFloat32, athanor::tensor::DType::kBFloat16}) {
      athanor::tensor::measure(context, type, rounds);
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
