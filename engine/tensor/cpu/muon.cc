#include "engine/tensor/muon.h"

#include <algorithm>
#include <cmath>

#include "engine/tensor/cpu/chunks.h"
#include "engine/tensor/operator_times.h"
#include "engine/tensor/orthogonalize.h"

namespace athanor::tensor {

namespace {

// That of the fewest bytes, and of orthogonalize()'s products: three in each of its steps.
Work muon_work(const Masters& parameters, const Tensor& gradients, const Tensor& momentum) {
  Work work = bytes_of(parameters.values, parameters.values, parameters.remainders, parameters.remainders, gradients,
                       momentum, momentum);
  const auto [least, most] =
      std::minmax({static_cast<double>(gradients.dim(0)), static_cast<double>(gradients.dim(1))});
  work.flops = kOrthogonalizeSteps * 2 * least * least * (2 * most + least);
  return work;
}

}  // namespace

std::int64_t muon_scratch(std::int64_t rows, std::int64_t columns) {
  return rows * columns + orthogonalize_scratch(rows, columns);
}

void muon(Context& context, const Muon& how, const Masters& parameters, const Tensor& gradients, const Tensor& momentum,
          const Tensor& scratch) {
  const OperatorTimer timer(context, "muon", [&] { return muon_work(parameters, gradients, momentum); });
  const std::int64_t M = gradients.dim(0), N = gradients.dim(1), count = M * N;
  const DType type = parameters.values.type();
  ATHANOR_ASSERT(gradients.contiguous() && momentum.contiguous() && momentum.count() == count);
  ATHANOR_ASSERT(scratch.type() == type && scratch.count() >= muon_scratch(M, N));
  const Tensor flat = scratch.reshaped({scratch.count()});
  const Tensor update = flat.rows(0, count).reshaped({M, N});
  const cpu::Kernels& kernels = cpu::kernels();
  const auto keep = static_cast<float>(how.momentum);
  const auto take = static_cast<float>((1 - how.momentum) * how.gradient_scale);
  context.parallel(count, cpu::kChunksGrain, [&](std::int64_t begin, std::int64_t end, int) {
    float copy[cpu::kChunk], direction[cpu::kChunk];
    for (std::int64_t i = begin; i < end; i += cpu::kChunk) {
      const std::int64_t size = std::min(cpu::kChunk, end - i);
      const float* g = cpu::as_floats(gradients, i, size, copy);
      float* b = momentum.f32() + i;
      kernels.f32.combine(size, take, g, keep, b);
      float* u = type == DType::kFloat32 ? update.f32() + i : direction;
      std::copy(b, b + size, u);
      kernels.f32.combine(size, take, g, keep, u);
      if (type == DType::kBFloat16) kernels.narrow(size, u, update.bf16() + i);
    }
  });
  orthogonalize(context, update, flat.rows(count, scratch.count()));
  const auto decayed = static_cast<float>(1 - how.rate * how.weight_decay);
  const auto step = static_cast<float>(-how.rate * 0.2 * std::sqrt(static_cast<double>(std::max(M, N))));
  cpu::in_chunks(context, parameters, [&](std::int64_t first, std::int64_t size, float* p) {
    float copy[cpu::kChunk];
    kernels.f32.combine(size, step, cpu::as_floats(update, first, size, copy), decayed, p);
  });
}

}  // namespace athanor::tensor
