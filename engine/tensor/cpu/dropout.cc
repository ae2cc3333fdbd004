#include "engine/tensor/dropout.h"

#include "engine/tensor/cpu/rows.h"
#include "engine/tensor/operator_times.h"

namespace athanor::tensor {

namespace {

// SplitMix64's last step (Steele, Lea and Flood 2014).
std::uint64_t mixed(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

void run(Context& context, const Dropout& how, const Tensor& from, const Tensor& into, bool add) {
  const std::int64_t N = from.dim(0), C = from.dim(1);
  ATHANOR_ASSERT(how.rate >= 0 && how.rate < 1);
  for (const Tensor& matrix : {from, into}) cpu::assert_matrix(matrix, from.type(), N, C);
  const auto limit = static_cast<std::uint32_t>(static_cast<double>(how.rate) * 0x1p32);
  const float scale = 1 / (1 - how.rate);
  cpu::by_type(from.type(), [&]<class Element>(Element, const auto& kernels) {
    const auto kernel = add ? kernels.add_dropout : kernels.dropout;
    context.parallel(N, cpu::grain_of(C), [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t n = begin; n < end; ++n) {
        const std::uint64_t key = mixed(how.key ^ mixed(static_cast<std::uint64_t>(how.number_of(n))));
        kernel(C, static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32), limit, scale,
               cpu::row<Element>(from, n), cpu::row<Element>(into, n));
      }
    });
  });
}

}  // namespace

void dropout_forward(Context& context, const Dropout& how, const Tensor& x, const Tensor& y) {
  const OperatorTimer timer(context, "dropout", [&] { return bytes_of(x, y); });
  run(context, how, x, y, false);
}

void dropout_backward(Context& context, const Dropout& how, const Tensor& dy, const Tensor& dx) {
  const OperatorTimer timer(context, "dropout backward", [&] { return bytes_of(dy, dx, dx); });
  run(context, how, dy, dx, true);
}

}  // namespace athanor::tensor
