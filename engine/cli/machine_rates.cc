#include "engine/cli/machine_rates.h"

#include <algorithm>

#include "engine/tensor/available_memory.h"
#include "engine/tensor/matmul.h"
#include "engine/tensor/memory_plan.h"

namespace athanor::llm {

namespace {

const char* const kAdvice = "A machine with more memory is needed";

// Of the fastest of the calls of body() that fit into `long_s`.
template <class Body>
double best_seconds(const Clock& clock, double long_s, const Body& body) {
  const auto now_s = [&] { return static_cast<double>(clock.monotonic_ns()) * 1e-9; };
  double best_s = 1e9;
  const double start_s = now_s();
  do {
    const double begin_s = now_s();
    body();
    best_s = std::min(best_s, now_s() - begin_s);
  } while (now_s() - start_s < long_s);
  return best_s;
}

}  // namespace

double product_rate(tensor::Context& context, tensor::DType type, const Clock& clock, double long_s) {
  constexpr std::int64_t kSize = 1536;
  tensor::MemoryPlan plan;
  const tensor::Tensor& a = plan.add_rows("products", "a", type, kSize, kSize);
  const tensor::Tensor& b = plan.add_rows("products", "b", type, kSize, kSize);
  const tensor::Tensor& c = plan.add_rows("products", "c", kSize, kSize);
  plan.allocate(tensor::available_memory_bytes(), kAdvice);
  // As the forward pass of a linear layer has it.
  return 2.0 * kSize * kSize * kSize / best_seconds(clock, long_s, [&] { matmul(context, a, b.transposed(), c); });
}

double triad_rate(tensor::Context& context, const Clock& clock, double long_s) {
  constexpr std::int64_t kCount = 16 << 20;  // 64 MiB each
  tensor::MemoryPlan plan;
  float* arrays[3];
  const tensor::Tensor* planned[3];
  for (const tensor::Tensor*& array : planned) array = &plan.add("triad", "array", tensor::DType::kFloat32, {kCount});
  plan.allocate(tensor::available_memory_bytes(), kAdvice);
  for (int i = 0; i < 3; ++i) {
    arrays[i] = planned[i]->f32();
    std::fill_n(arrays[i], kCount, 1.0F);  // pages that were never written are all the same one
  }
  const double best_s = best_seconds(clock, long_s, [&] {
    context.parallel(kCount, 1024, [&](std::int64_t begin, std::int64_t end, int) {
      float* a = arrays[0];
      const float *b = arrays[1], *c = arrays[2];
#pragma GCC ivdep
      for (std::int64_t i = begin; i < end; ++i) a[i] = b[i] + 3.0F * c[i];
    });
  });
  return 3.0 * sizeof(float) * kCount / best_s;
}

}  // namespace athanor::llm
