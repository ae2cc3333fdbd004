#include "engine/model/linear.h"

#include "engine/tensor/matmul.h"
#include "engine/tensor/scale.h"

namespace athanor::model {

using tensor::Into;
using tensor::Tensor;

namespace {

// The first rows and columns of a scratch.
Tensor corner(const Tensor& scratch, std::int64_t rows, std::int64_t columns) {
  return scratch.rows(0, rows).columns(0, columns);
}

// D(x): x itself where nothing is dropped.
Tensor dropped(tensor::Context& context, const tensor::Dropout& dropout, const Tensor& x,
               const LinearScratch& scratch) {
  if (dropout.rate == 0) return x;
  const Tensor y = corner(scratch.dropped, x.dim(0), x.dim(1));
  dropout_forward(context, dropout, x, y);
  return y;
}

}  // namespace

void linear_forward(tensor::Context& context, const Linear& layer, const tensor::Dropout& dropout, const Tensor& x,
                    const Tensor& y, const Tensor& low, const LinearScratch& scratch) {
  matmul_transposed(context, x, layer.weight, y);
  const Lora& lora = layer.lora;
  if (!lora.a) return;
  matmul(context, dropped(context, dropout, x, scratch), lora.a.transposed(), low);
  scale(context, lora.scale, low);
  std::int64_t at = 0;
  for (int i = 0; i < lora.count; ++i) {
    const LoraPart& part = lora.parts[static_cast<std::size_t>(i)];
    const Tensor u = low.columns(at, at + part.b.dim(1));  // (N, r)
    matmul(context, u, part.b.transposed(), y.columns(part.begin, part.end), Into::kAdd);
    at += part.b.dim(1);
  }
}

void linear_backward(tensor::Context& context, const Linear& layer, const tensor::Dropout& dropout, const Tensor& x,
                     const Tensor& dy, const Tensor& dx, const Tensor& low, const LinearScratch& scratch) {
  const std::int64_t N = x.dim(0);
  if (dx) matmul(context, dy, layer.weight, dx);
  if (layer.d_weight) matmul(context, dy.transposed(), x, layer.d_weight, Into::kAdd);
  const Lora& lora = layer.lora;
  if (!lora.a) return;
  const Tensor d_low = corner(scratch.d_low, N, lora.a.dim(0));  // (N, R)
  std::int64_t at = 0;
  for (int i = 0; i < lora.count; ++i) {
    const LoraPart& part = lora.parts[static_cast<std::size_t>(i)];
    const std::int64_t end = at + part.b.dim(1);
    const Tensor d_part = dy.columns(part.begin, part.end);  // (N, end − begin)
    if (part.d_b) matmul(context, d_part.transposed(), low.columns(at, end), part.d_b, Into::kAdd);
    matmul(context, d_part, part.b, d_low.columns(at, end));
    at = end;
  }
  scale(context, lora.scale, d_low);
  if (lora.d_a) matmul(context, d_low.transposed(), dropped(context, dropout, x, scratch), lora.d_a, Into::kAdd);
  if (!dx) return;
  if (dropout.rate == 0) {
    matmul(context, d_low, lora.a, dx, Into::kAdd);
  } else {
    const Tensor d_dropped = corner(scratch.dropped, N, x.dim(1));  // (N, in)
    matmul(context, d_low, lora.a, d_dropped);
    dropout_backward(context, dropout, d_dropped, dx);
  }
}

}  // namespace athanor::model
