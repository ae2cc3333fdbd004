#include "engine/cli/machine_rates.h"

#include <algorithm>

#include "engine/tensor/available_memory.h"
#include "engine/tensor/matmul.h"
#include "engine/tensor/memory_plan.h"

namespace athanor::llm {

namespace {

const char* const kAdvice = "A machine with more memory is needed";

// Of the calls of body() that fit into `long_s`, each of which does `work`.
template <class Body>
Rate rate_of(double work, const Clock& clock, double long_s, const Body& body) {
  const auto now_s = [&] { return static_cast<double>(clock.monotonic_ns()) * 1e-9; };
  double best_s = 1e9, total_s = 0;
  int calls = 0;
  const double start_s = now_s();
  do {
    const double begin_s = now_s();
    body();
    const double end_s = now_s();
    best_s = std::min(best_s, end_s - begin_s);
    total_s = end_s - start_s;
    ++calls;
  } while (total_s < long_s);
  return {.best = work / best_s, .mean = work * calls / total_s};
}

}  // namespace

Rate product_rate(tensor::Context& context, tensor::DType type, const Clock& clock, double long_s) {
  constexpr std::int64_t kSize = 1536;
  tensor::MemoryPlan plan;
  const tensor::Tensor& a = plan.add_rows("products", "a", type, kSize, kSize);
  const tensor::Tensor& b = plan.add_rows("products", "b", type, kSize, kSize);
  const tensor::Tensor& c = plan.add_rows("products", "c", kSize, kSize);
  plan.allocate(tensor::available_memory_bytes(), kAdvice);
  // As the forward pass of a linear layer has it.
  return rate_of(2.0 * kSize * kSize * kSize, clock, long_s, [&] { matmul(context, a, b.transposed(), c); });
}

Rate triad_rate(tensor::Context& context, const Clock& clock, double long_s) {
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
  return rate_of(3.0 * sizeof(float) * kCount, clock, long_s, [&] {
    context.parallel(kCount, 1024, [&](std::int64_t begin, std::int64_t end, int) {
      float* a = arrays[0];
      const float *b = arrays[1], *c = arrays[2];
#pragma GCC ivdep
      for (std::int64_t i = begin; i < end; ++i) a[i] = b[i] + 3.0F * c[i];
    });
  });
}

}  // namespace athanor::llm
