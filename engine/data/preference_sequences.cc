#include "engine/data/preference_sequences.h"

#include <algorithm>
#include <numeric>

#include "common/error.h"
#include "engine/data/permutation.h"
#include "engine/tensor/cross_entropy.h"

namespace athanor::data {

PreferenceSequences::PreferenceSequences(std::shared_ptr<const DocumentFile> pairs,
                                         const PreferenceSequencesOptions& options)
    : file_(std::move(pairs)), options_(options) {
  ATHANOR_ASSERT(file_ && options_.length > 0 && options_.batch > 0);
  if (file_->header().group != 2) {
    throw Error(ErrorKind::kInvalid,
                "The data has single documents, and preferences come in pairs: give lines with \"chosen\" and "
                "\"rejected\"");
  }
  const auto learns = [this](std::int64_t document) {
    const std::int64_t first = file_->begin(document) + 1;
    return file_->learns(first, std::min(file_->end(document), first + options_.length));
  };
  for (std::int64_t pair = 0; pair < file_->count() / 2; ++pair) {
    if (!learns(2 * pair) || !learns(2 * pair + 1)) continue;
    pairs_.push_back(pair);
    const auto is_long = [this](std::int64_t document) {
      return file_->end(document) - file_->begin(document) - 1 > options_.length;
    };
    long_pairs_ += is_long(2 * pair) || is_long(2 * pair + 1);
  }
}

std::int64_t PreferenceSequences::training(std::int64_t step, std::int64_t index) const {
  ATHANOR_ASSERT(step >= 1 && index >= 0 && index < options_.batch);
  const std::int64_t number = (step - 1) * options_.batch + index;
  const std::uint64_t key = mixed(options_.seed, static_cast<std::uint64_t>(number / pairs()));
  return static_cast<std::int64_t>(
      permuted(static_cast<std::uint64_t>(number % pairs()), static_cast<std::uint64_t>(pairs()), key));
}

std::int64_t PreferenceSequences::size(std::int64_t document) const {
  return std::min(options_.length, file_->end(document) - file_->begin(document) - 1);
}

std::int64_t PreferenceSequences::length(std::int64_t pair) const {
  ATHANOR_ASSERT(pair >= 0 && pair < pairs());
  const std::int64_t document = 2 * pairs_[static_cast<std::size_t>(pair)];
  return std::max(size(document), size(document + 1));
}

void PreferenceSequences::fill(std::int64_t document, const Row& row) const {
  const std::int64_t first = file_->begin(document);
  const auto size = static_cast<std::size_t>(this->size(document));
  ATHANOR_ASSERT(row.tokens.size() >= size);
  ATHANOR_ASSERT(row.tokens.size() == row.targets.size() && row.tokens.size() == row.document_starts.size());
  file_->read(first, row.tokens.first(size));
  file_->read_targets(first + 1, row.targets.first(size));
  std::ranges::fill(row.document_starts.first(size), 0);
  std::ranges::fill(row.tokens.subspan(size), 0);
  std::ranges::fill(row.targets.subspan(size), tensor::kNoTarget);
  const std::span<std::int32_t> rest = row.document_starts.subspan(size);
  std::iota(rest.begin(), rest.end(), static_cast<std::int32_t>(size));
}

void PreferenceSequences::read(std::int64_t pair, const Row& chosen, const Row& rejected) const {
  ATHANOR_ASSERT(pair >= 0 && pair < pairs());
  const std::int64_t document = 2 * pairs_[static_cast<std::size_t>(pair)];
  fill(document, chosen);
  fill(document + 1, rejected);
}

}  // namespace athanor::data
