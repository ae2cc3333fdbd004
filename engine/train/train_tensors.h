// All tensors that a training run goes on from: what a checkpoint holds.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/model/layout.h"
#include "engine/tensor/tensor.h"

namespace athanor::train {

struct NamedTensor {
  std::string name;     // "model.norm.weight", "optimizer.m.model.norm.weight"
  tensor::Tensor data;  // contiguous, a part of one of the buffers
};

struct TrainTensors {
  std::string dtype = "float32";    // how the parameters are trained (options.h)
  std::string optimizer = "adamw";  // and by what
  std::string adapters = "none";    // what they are, when those are trained and not the model
  std::string objective =
      "language";  // what they are trained for, and on what, where the objective keeps something too
  std::vector<tensor::Tensor> buffers;
  std::vector<NamedTensor> named;  // in the order of their bytes in the buffers

  // A buffer of a parameter layout, its parts named PREFIX + the parameter's name. Without memory yet, only the buffer.
  void add(const model::Layout& layout, const std::string& prefix, const tensor::Tensor& flat) {
    buffers.push_back(flat);
    if (!flat) return;
    for (const model::ParameterInfo& info : layout.all()) {
      named.push_back({prefix + info.name, layout.view(flat, info)});
    }
  }
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const tensor::Tensor& buffer : buffers) sum += buffer.bytes();
    return sum;
  }
};

}  // namespace athanor::train
