#include "engine/tensor/copy.h"

#include <cstring>

#include "engine/tensor/cpu/rows.h"
#include "engine/tensor/operator_times.h"

namespace athanor::tensor {

namespace {

// Bytes that make a thread's work worth its waking.
constexpr std::int64_t kGrainBytes = 1 << 16;

char* row_of(const Tensor& x, std::int64_t n) {
  return static_cast<char*>(x.data()) + n * x.stride(0) * static_cast<std::int64_t>(size_of(x.type()));
}

// Calls body(n) for the rows of `row_bytes` bytes.
template <class Body>
void in_rows(Context& context, std::int64_t rows, std::size_t row_bytes, const Body& body) {
  const std::int64_t grain = kGrainBytes / std::max<std::int64_t>(1, static_cast<std::int64_t>(row_bytes));
  context.parallel(rows, std::max<std::int64_t>(1, grain), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t n = begin; n < end; ++n) body(n);
  });
}

}  // namespace

void clear(Context& context, const Tensor& x) {
  const OperatorTimer timer(context, "clear", [&] { return bytes_of(x); });
  if (x.contiguous()) {
    context.parallel(static_cast<std::int64_t>(x.bytes()), kGrainBytes, [&](std::int64_t begin, std::int64_t end, int) {
      std::memset(static_cast<char*>(x.data()) + begin, 0, static_cast<std::size_t>(end - begin));
    });
    return;
  }
  cpu::assert_matrix(x, x.type(), x.dim(0), x.dim(1));
  const std::size_t row_bytes = static_cast<std::size_t>(x.dim(1)) * size_of(x.type());
  in_rows(context, x.dim(0), row_bytes, [&](std::int64_t n) { std::memset(row_of(x, n), 0, row_bytes); });
}

void copy(Context& context, const Tensor& from, const Tensor& to) {
  const OperatorTimer timer(context, "copy", [&] { return bytes_of(from, to); });
  const std::int64_t N = from.dim(0), C = from.dim(1);
  for (const Tensor& x : {from, to}) cpu::assert_matrix(x, from.type(), N, C);
  const std::size_t row_bytes = static_cast<std::size_t>(C) * size_of(from.type());
  in_rows(context, N, row_bytes, [&](std::int64_t n) { std::memcpy(row_of(to, n), row_of(from, n), row_bytes); });
}

}  // namespace athanor::tensor
