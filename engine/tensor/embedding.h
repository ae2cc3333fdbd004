// Rows of a table, by token.
//
//   forward   x[n] = table[tokens[n]]
//   backward  d_table[v] += sum of dx[n] over all n with tokens[n] = v
#pragma once

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"
#include "engine/tensor/weight.h"

namespace athanor::tensor {

// tokens (N) int32, each in [0, V); table (V, C) and x (N, C) of one type, float32 or bfloat16.
void embedding_forward(Context& context, const Tensor& tokens, const Tensor& table, const Tensor& x);
// Rows of a table that may be in blocks; x is then float32 or bfloat16 as it likes.
void embedding_forward(Context& context, const Tensor& tokens, const Weight& table, const Tensor& x);
// Adds to d_table (V, C), summed in float32; dx and d_table are each float32 or bfloat16.
void embedding_backward(Context& context, const Tensor& tokens, const Tensor& dx, const Tensor& d_table);

}  // namespace athanor::tensor
