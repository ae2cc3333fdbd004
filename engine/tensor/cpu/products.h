// What matrix products keep for each thread, so that none waits for another: scratch for ours, and oneDNN's, prepared
// once for each shape (creating one costs about 100 µs, running it a few).
#pragma once

#include <memory>
#include <vector>

#include "engine/tensor/context.h"
#include "engine/tensor/matmul.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

struct Context::Products {
  explicit Products(int threads);
  ~Products();

  // The product matmul.h describes, all of it on the calling thread, which is number `thread` of the context's.
  void run(int thread, const Tensor& a, const Tensor& b, const Tensor& c, Into into);
  // At least `bytes` that a thread makes weights in before it multiplies with them; good until it asks again. Panels of
  // about kPanelBytes stay in the last-level cache.
  void* panel(int thread, std::int64_t bytes);
  static constexpr std::int64_t kPanelBytes = 4 << 20;

  struct OfThread;
  std::vector<std::unique_ptr<OfThread>> of_thread;
};

}  // namespace athanor::tensor
