// Matrices from files into the kinds that products take (tensor/stored_matrix.h), without rounding.
#pragma once

#include <span>

#include "engine/model/model_source.h"
#include "engine/tensor/stored_matrix.h"

namespace athanor::model {

// The kind that a matrix of `rows` and `columns` is kept as: the smallest that has all its numbers. Reads it when that needs
// to be known.
tensor::StoredMatrix packed_kind(const StoredTensor& stored, std::int64_t rows, std::int64_t columns);

// Writes the matrix as that kind; `into` has kind.bytes().
void pack_matrix(const StoredTensor& stored, const tensor::StoredMatrix& kind, std::span<std::uint8_t> into);

}  // namespace athanor::model
