#include "engine/tensor/cross_entropy.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <span>

#include "engine/tensor/cpu/rows.h"
#include "engine/tensor/matmul.h"
#include "engine/tensor/operator_times.h"
#include "engine/tensor/weight.h"

namespace athanor::tensor {

namespace {

// Calls body(row of logits, row of gradients, the kernel for the two).
template <class Body>
void by_types(const Tensor& logits, const Tensor& gradients, const Body& body) {
  const cpu::Kernels& kernels = cpu::kernels();
  if (logits.type() == DType::kBFloat16) return body(logits.bf16(), gradients.bf16(), kernels.bf16.cross_entropy);
  if (gradients.type() == DType::kFloat32) return body(logits.f32(), gradients.f32(), kernels.f32.cross_entropy);
  body(logits.f32(), gradients.bf16(), kernels.cross_entropy_into_bf16);
}

// What is asked of a pass over rows.
struct Pass {
  float z_loss = 0;
  const RowWeights* weights = nullptr;  // null: forward only
  std::span<double> sequences;          // to be added to; may be empty
  std::int64_t rows = 0;                // in all

  std::int64_t sequence_of(std::int64_t row, std::size_t count) const {
    return row * static_cast<std::int64_t>(count) / rows;
  }
  float weight_of(std::int64_t row) const {
    const std::span<const float> each = weights->sequences;
    return each.empty() ? weights->all : each[static_cast<std::size_t>(sequence_of(row, each.size()))];
  }
};

// The losses of a chunk's rows, which begin with row `number` of all, summed in order. With weights, its logits become their
// gradients.
double rows_loss(Context& context, const Tensor& logits, const Tensor& gradients, const std::int32_t* targets,
                 std::int64_t number, const Pass& pass) {
  const std::int64_t rows = logits.dim(0), V = logits.dim(1);
  constexpr std::int64_t kRowsAtOnce = 256;
  double losses[kRowsAtOnce];
  double sum = 0;
  for (std::int64_t first = 0; first < rows; first += kRowsAtOnce) {
    const std::int64_t count = std::min(kRowsAtOnce, rows - first);
    context.parallel(count, std::max<std::int64_t>(1, 4096 / V), [&](std::int64_t begin, std::int64_t end, int) {
      by_types(logits, gradients, [&](auto* z, auto* dz, const auto& kernel) {
        for (std::int64_t i = begin; i < end; ++i) {
          auto* gradient = dz + (first + i) * gradients.stride(0);
          const std::int64_t target = targets[first + i];
          losses[i] = 0;
          if (target == kNoTarget) {
            if (pass.weights) std::memset(gradient, 0, static_cast<std::size_t>(V) * sizeof *gradient);
            continue;
          }
          ATHANOR_ASSERT(target >= 0 && target < V);
          const float weight = pass.weights ? pass.weight_of(number + first + i) : 0;
          losses[i] = kernel(V, z + (first + i) * logits.stride(0), target, pass.z_loss,
                             pass.weights ? &weight : nullptr, gradient);
        }
      });
    });
    sum = std::accumulate(losses, losses + count, sum);
    for (std::int64_t i = 0; i < count && !pass.sequences.empty(); ++i) {
      pass.sequences[static_cast<std::size_t>(pass.sequence_of(number + first + i, pass.sequences.size()))] +=
          losses[i];
    }
  }
  return sum;
}

// Where the gradient of logits lies, of the type of what it is multiplied with: in their place. Rows of bfloat16 in
// place of rows of float32 lie as far apart and are half as long.
Tensor in_place_of(const Tensor& logits, DType type) {
  if (logits.type() == type) return logits;
  ATHANOR_ASSERT(logits.type() == DType::kFloat32 && type == DType::kBFloat16);
  return Tensor::matrix(type, logits.dim(0), logits.dim(1), 2 * logits.stride(0), logits.data());
}

// Adds matrices of float32 to those of any type.
void add(Context& context, const Tensor& from, const Tensor& into) {
  const std::int64_t columns = into.dim(1);
  cpu::assert_matrix(from, DType::kFloat32, into.dim(0), columns);
  cpu::by_type(into.type(), [&]<class Element>(Element, const auto& kernels) {
    context.parallel(into.dim(0), cpu::grain_of(columns), [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t n = begin; n < end; ++n) {
        kernels.add_floats(columns, cpu::row<float>(from, n), cpu::row<Element>(into, n));
      }
    });
  });
}

// The logits are never in memory, if all is well.
Work head_work(const Tensor& x, const Weight& weight, const Tensor& dx, const Tensor& d_weight) {
  Work work = bytes_of(x, dx, d_weight, d_weight);
  work.bytes += static_cast<double>(weight.quantized() ? weight.blocks().bytes() : weight.dense().bytes());
  const double product =
      2.0 * static_cast<double>(x.dim(0)) * static_cast<double>(weight.dim(0)) * static_cast<double>(weight.dim(1));
  work.flops = product * (1 + (dx ? 1 : 0) + (d_weight ? 1 : 0));
  return work;
}

double run(Context& context, const Tensor& x, const Weight& weight, const Tensor& targets, Pass pass,
           const Tensor& logits, const Tensor& dx, const Tensor& d_weight, const Tensor& sums) {
  const std::int64_t N = x.dim(0), V = weight.dim(0);
  const OperatorTimer timer(context, pass.weights ? "head and cross-entropy, with gradients" : "head and cross-entropy",
                            [&] { return head_work(x, weight, dx, d_weight); });
  ATHANOR_ASSERT(targets.count() == N && logits.dim(1) == V && logits.dim(0) >= 1 && logits.stride(1) == 1);
  pass.rows = N;
  const auto divides = [N](std::size_t sequences) {
    return sequences == 0 || N % static_cast<std::int64_t>(sequences) == 0;
  };
  ATHANOR_ASSERT(divides(pass.sequences.size()) && (!pass.weights || divides(pass.weights->sequences.size())));
  std::ranges::fill(pass.sequences, 0.0);
  const std::int32_t* target = targets.ints().data();
  double loss = 0;
  for (std::int64_t begin = 0; begin < N; begin += logits.dim(0)) {
    const std::int64_t end = std::min(begin + logits.dim(0), N);
    const Tensor z = logits.rows(0, end - begin);  // (rows, V)
    const Tensor dz = in_place_of(z, x.type());
    matmul_transposed(context, x.rows(begin, end), weight, z);
    loss += rows_loss(context, z, dz, target + begin, begin, pass);
    if (pass.weights) {
      matmul(context, dz, weight, dx.rows(begin, end));
      if (!sums && !d_weight) continue;
      matmul(context, dz.transposed(), x.rows(begin, end), sums ? sums : d_weight,
             sums && begin == 0 ? Into::kReplace : Into::kAdd);
    }
  }
  if (sums) add(context, sums, d_weight);
  return loss;
}

}  // namespace

double cross_entropy_forward(Context& context, const Tensor& x, const Weight& weight, const Tensor& targets,
                             const Tensor& logits, std::span<double> sequences) {
  return run(context, x, weight, targets, {.sequences = sequences}, logits, {}, {}, {});
}

double cross_entropy_forward_backward(Context& context, const Tensor& x, const Weight& weight, const Tensor& targets,
                                      const RowWeights& weights, const Tensor& logits, const Tensor& dx,
                                      const Tensor& d_weight, const Tensor& sums, float z_loss) {
  return run(context, x, weight, targets, {.z_loss = z_loss, .weights = &weights, .sequences = {}}, logits, dx,
             d_weight, sums);
}

}  // namespace athanor::tensor
