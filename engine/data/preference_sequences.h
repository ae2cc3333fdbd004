// The pairs of a document file of preferences, by step: chosen and rejected, each in a row of its own. Which pairs a step
// has is a function of the step, as in token_sequences.h; a pair's number tells it from others over all epochs, so that
// what the reference model thinks of it needs to be computed once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/data/document_file.h"
#include "engine/data/sequences.h"

namespace athanor::data {

struct PreferenceSequencesOptions {
  std::int64_t length = 256;  // tokens of a row; of longer documents the end is left out
  std::int64_t batch = 16;    // pairs of a step
  std::uint64_t seed = 1;     // of the order
};

class PreferenceSequences {
 public:
  // Pairs of which one has nothing to learn within `length` are left out, which may be all. Throws kInvalid when
  // `pairs` is no file of pairs.
  PreferenceSequences(std::shared_ptr<const DocumentFile> pairs, const PreferenceSequencesOptions& options);

  std::int64_t pairs() const { return static_cast<std::int64_t>(pairs_.size()); }  // of an epoch
  std::int64_t left_out() const { return file_->count() / 2 - pairs(); }
  std::int64_t long_pairs() const { return long_pairs_; }  // of which an answer loses its end
  // The number, in [0, pairs()), of pair `index` of step `step` (from 1).
  std::int64_t training(std::int64_t step, std::int64_t index) const;
  // Tokens of a row that has room for either answer of a pair; at most the options' length.
  std::int64_t length(std::int64_t pair) const;
  // Tells these pairs from others, in hex.
  std::string fingerprint() const { return file_->fingerprint(); }
  // Fills both rows, which have that length or more. After a document's end they hold token 0, without targets.
  void read(std::int64_t pair, const Row& chosen, const Row& rejected) const;

 private:
  // Tokens of a row with this document.
  std::int64_t size(std::int64_t document) const;
  void fill(std::int64_t document, const Row& row) const;

  const std::shared_ptr<const DocumentFile> file_;
  const PreferenceSequencesOptions options_;
  std::vector<std::int64_t> pairs_;  // in the file
  std::int64_t long_pairs_ = 0;
};

}  // namespace athanor::data
