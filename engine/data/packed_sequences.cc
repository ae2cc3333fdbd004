#include "engine/data/packed_sequences.h"

#include <algorithm>
#include <numeric>

#include "common/counts.h"
#include "common/error.h"
#include "engine/data/permutation.h"
#include "engine/tensor/cross_entropy.h"

namespace athanor::data {

Pieces pieces_of(const Documents& documents, std::int64_t length, LongDocuments long_documents) {
  ATHANOR_ASSERT(length >= 1);
  Pieces result;
  for (std::int64_t i = 0; i < documents.count(); ++i) {
    const std::int64_t begin = documents.begin(i), predictions = documents.end(i) - begin - 1;
    result.long_documents += predictions > length;
    const std::int64_t taken = long_documents == LongDocuments::kSplit ? predictions : std::min(predictions, length);
    const std::size_t before = result.pieces.size();
    for (std::int64_t at = 0; at < taken; at += length) {
      const std::int64_t first = begin + at, size = std::min(length, taken - at);
      if (documents.learns(first + 1, first + size + 1)) {
        result.pieces.push_back({first, static_cast<std::int32_t>(size)});
      }
    }
    result.left_out += result.pieces.size() == before;
  }
  return result;
}

PackedSequences::PackedSequences(std::shared_ptr<const Documents> train, std::shared_ptr<const Documents> held_out,
                                 const PackedSequencesOptions& options)
    : train_(std::move(train)),
      held_out_(std::move(held_out)),
      options_(options),
      pieces_(pieces_of(*train_, options.length, options.long_documents)),
      packing_(std::move(pieces_.pieces), options.length) {
  ATHANOR_ASSERT(options_.length > 0 && options_.batch > 0);
  if (packing_.rows() == 0) {
    throw Error(ErrorKind::kInvalid,
                "Of {} to train on none has anything to learn in its first {} tokens: give others, or a "
                "larger length",
                format_count(train_->count(), "document"), options_.length + 1);
  }
  if (held_out_) {
    held_out_packing_ =
        std::make_unique<Packing>(pieces_of(*held_out_, options.length, options.long_documents).pieces, options.length);
  }
}

double PackedSequences::filled() const {
  return static_cast<double>(packing_.predictions()) / static_cast<double>(packing_.rows() * options_.length);
}

void PackedSequences::fill(const Documents& from, const Packing& packing, std::int64_t index, std::uint64_t key,
                           const Row& row) {
  ATHANOR_ASSERT(static_cast<std::int64_t>(row.tokens.size()) == options_.length);
  ATHANOR_ASSERT(row.tokens.size() == row.targets.size() && row.tokens.size() == row.document_starts.size());
  packing.row(index, key, row_);
  std::size_t at = 0;
  for (const Piece& piece : row_) {
    const auto size = static_cast<std::size_t>(piece.length);
    from.read(piece.first, row.tokens.subspan(at, size));
    from.read_targets(piece.first + 1, row.targets.subspan(at, size));
    std::ranges::fill(row.document_starts.subspan(at, size), static_cast<std::int32_t>(at));
    at += size;
  }
  std::ranges::fill(row.tokens.subspan(at), 0);
  std::ranges::fill(row.targets.subspan(at), tensor::kNoTarget);
  const std::span<std::int32_t> rest = row.document_starts.subspan(at);
  std::iota(rest.begin(), rest.end(), static_cast<std::int32_t>(at));
}

void PackedSequences::training(std::int64_t step, std::int64_t index, const Row& row) {
  ATHANOR_ASSERT(step >= 1 && index >= 0 && index < options_.batch);
  const std::int64_t number = (step - 1) * options_.batch + index, rows = packing_.rows();
  const std::uint64_t key = mixed(options_.seed, static_cast<std::uint64_t>(number / rows));
  const std::uint64_t place =
      permuted(static_cast<std::uint64_t>(number % rows), static_cast<std::uint64_t>(rows), key);
  fill(*train_, packing_, static_cast<std::int64_t>(place), key, row);
}

std::int64_t PackedSequences::evaluation_count(std::int64_t length) {
  ATHANOR_ASSERT(length == options_.length);
  return held_out_packing_ ? held_out_packing_->rows() : 0;
}

void PackedSequences::evaluation(std::int64_t index, const Row& row) {
  fill(*held_out_, *held_out_packing_, index, 0, row);
}

}  // namespace athanor::data
