#include "engine/data/token_sequences.h"

#include <algorithm>

#include "common/error.h"
#include "engine/data/permutation.h"

namespace athanor::data {

namespace {

// Tokens [first, first + T] of the text: each is the target of the one before it.
void fill(const TokenFile& text, std::int64_t first, const Row& row) {
  ATHANOR_ASSERT(row.tokens.size() == row.targets.size() && row.tokens.size() == row.document_starts.size());
  text.read(first, row.tokens);
  text.read(first + 1, row.targets);
  std::fill(row.document_starts.begin(), row.document_starts.end(), 0);
}

}  // namespace

TokenSequences::TokenSequences(std::shared_ptr<const TokenFile> train, std::shared_ptr<const TokenFile> held_out,
                               const TokenSequencesOptions& options)
    : train_(std::move(train)), held_out_(std::move(held_out)), options_(options) {
  ATHANOR_ASSERT(train_ && options_.length > 0 && options_.batch > 0);
  windows_ = (train_->count() - 1) / options_.length;
  if (train_->count() < options_.length + 1) {
    throw Error(ErrorKind::kInvalid,
                "The training text has {} tokens, and one sequence takes length + 1 = {}: give more text or a smaller "
                "length",
                train_->count(), options_.length + 1);
  }
}

void TokenSequences::training(std::int64_t step, std::int64_t index, const Row& row) {
  ATHANOR_ASSERT(step >= 1 && index >= 0 && index < options_.batch);
  ATHANOR_ASSERT(static_cast<std::int64_t>(row.tokens.size()) == options_.length);
  const std::int64_t number = (step - 1) * options_.batch + index;
  const auto key = mixed(options_.seed, static_cast<std::uint64_t>(number / windows_));
  const auto slack = static_cast<std::uint64_t>((train_->count() - 1) % options_.length);
  const auto offset = static_cast<std::int64_t>(mixed(key, 0) % (slack + 1));
  const auto window = static_cast<std::int64_t>(
      permuted(static_cast<std::uint64_t>(number % windows_), static_cast<std::uint64_t>(windows_), key));
  fill(*train_, offset + window * options_.length, row);
}

std::int64_t TokenSequences::evaluation_count(std::int64_t length) {
  return held_out_ && held_out_->count() > 0 ? (held_out_->count() - 1) / length : 0;
}

void TokenSequences::evaluation(std::int64_t index, const Row& row) {
  const auto length = static_cast<std::int64_t>(row.tokens.size());
  ATHANOR_ASSERT(index >= 0 && index < evaluation_count(length));
  fill(*held_out_, index * length, row);
}

}  // namespace athanor::data
