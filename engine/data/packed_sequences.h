// Sequences packed of short documents, none of which sees another: see packing.h for how, token_sequences.h for the endless
// series of epochs that any place of which is computed directly.
//
// A document of n tokens takes n - 1 places of a row, since its last token is a target only. What is left of a row holds
// token 0, each in a document of its own, without targets.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/data/documents.h"
#include "engine/data/packing.h"
#include "engine/data/sequences.h"

namespace athanor::data {

// What becomes of a document that is longer than a row.
enum class LongDocuments {
  kSplit,     // it is cut, and every piece is a document of its own: for texts
  kTruncate,  // its end is left out: for conversations, whose later answers mean little without what came before
};

struct PackedSequencesOptions {
  std::int64_t length = 256;  // tokens of a row
  std::int64_t batch = 16;    // rows of a step
  std::uint64_t seed = 1;     // of the order
  LongDocuments long_documents = LongDocuments::kSplit;
};

// The pieces of documents that have something to learn, and what did not become one.
struct Pieces {
  std::vector<Piece> pieces;
  std::int64_t long_documents = 0;  // split or truncated
  std::int64_t left_out = 0;        // documents of which nothing to learn remained
};
Pieces pieces_of(const Documents& documents, std::int64_t length, LongDocuments long_documents);

class PackedSequences final : public Sequences {
 public:
  // `held_out` may be null: then there is no evaluation. Throws kInvalid when nothing of `train` can be learnt.
  PackedSequences(std::shared_ptr<const Documents> train, std::shared_ptr<const Documents> held_out,
                  const PackedSequencesOptions& options);

  bool packed() const override { return true; }
  void training(std::int64_t step, std::int64_t index, const Row& row) override;
  std::int64_t evaluation_count(std::int64_t length) override;
  void evaluation(std::int64_t index, const Row& row) override;

  std::int64_t rows() const { return packing_.rows(); }  // of an epoch
  double filled() const;                                 // the part of the rows that documents take
  std::int64_t long_documents() const { return pieces_.long_documents; }
  std::int64_t left_out() const { return pieces_.left_out; }

 private:
  void fill(const Documents& from, const Packing& packing, std::int64_t index, std::uint64_t key, const Row& row);

  const std::shared_ptr<const Documents> train_;
  const std::shared_ptr<const Documents> held_out_;
  const PackedSequencesOptions options_;
  Pieces pieces_;  // the counts; the pieces themselves are in
  const Packing packing_;
  std::unique_ptr<const Packing> held_out_packing_;
  std::vector<Piece> row_;  // of the last call
};

}  // namespace athanor::data
