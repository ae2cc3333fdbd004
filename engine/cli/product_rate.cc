#include "engine/cli/product_rate.h"

#include <algorithm>

#include "engine/tensor/available_memory.h"
#include "engine/tensor/matmul.h"
#include "engine/tensor/memory_plan.h"

namespace athanor::llm {

double product_rate(tensor::Context& context, tensor::DType type, const Clock& clock, double long_s) {
  constexpr std::int64_t kSize = 1536;
  tensor::MemoryPlan plan;
  const tensor::Tensor& a = plan.add_rows("products", "a", type, kSize, kSize);
  const tensor::Tensor& b = plan.add_rows("products", "b", type, kSize, kSize);
  const tensor::Tensor& c = plan.add_rows("products", "c", kSize, kSize);
  plan.allocate(tensor::available_memory_bytes(), "A machine with more memory is needed");
  const auto now_s = [&] { return static_cast<double>(clock.monotonic_ns()) * 1e-9; };
  double best_s = 1e9;
  const double start_s = now_s();
  do {
    const double begin_s = now_s();
    matmul(context, a, b.transposed(), c);  // as the forward pass of a linear layer has it
    best_s = std::min(best_s, now_s() - begin_s);
  } while (now_s() - start_s < long_s);
  return 2.0 * kSize * kSize * kSize / best_s;
}

}  // namespace athanor::llm
