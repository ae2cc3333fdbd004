// What matrix products keep for each thread, so that none waits for another: scratch for ours, and oneDNN's, prepared
// once for each shape (creating one costs about 100 µs, running it a few).
#pragma once

#include <memory>
#include <vector>

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

struct Context::Products {
  explicit Products(int threads);
  ~Products();

  struct OfThread;
  std::vector<std::unique_ptr<OfThread>> of_thread;
};

}  // namespace athanor::tensor
