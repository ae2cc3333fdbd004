// Byte-pair encoding: a vocabulary of byte strings and the merges that build them from single bytes, the earliest merge
// first (Sennrich et al., 2016; on bytes: Radford et al., 2019). Immutable and shared by threads.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/model/tokenizer/merge_table.h"
#include "engine/model/tokenizer/subwords.h"

namespace athanor::model {

class Bpe : public Subwords {
 public:
  static constexpr TokenId kIdMax = kTokenIdMax;

  // `vocabulary`: (bytes, id), every id once. `merges`: pairs of ids in order of their rank, whose concatenation is in
  // the vocabulary. `whole_pieces_first`: a piece that is a token is that token, whatever the merges say (Hugging Face's
  // ignore_merges). A byte that has no token, which happens where a vocabulary was learned without all of them
  // (SmolLM2), becomes `unknown`, and nothing at all when there is none. Throws kInvalid.
  Bpe(const std::vector<std::pair<std::string, TokenId>>& vocabulary, std::vector<std::pair<TokenId, TokenId>> merges,
      bool whole_pieces_first, std::optional<TokenId> unknown = std::nullopt);

  TokenId id_end() const override { return static_cast<TokenId>(bytes_.size()); }
  bool has(TokenId id) const override;
  std::string_view bytes(TokenId id) const override { return bytes_[static_cast<std::size_t>(id)]; }
  std::span<const std::pair<TokenId, TokenId>> merges() const { return merges_; }
  bool whole_pieces_first() const { return whole_pieces_first_; }
  std::optional<TokenId> unknown() const { return unknown_; }
  // Every byte has a token.
  bool complete() const { return complete_; }

  void encode(std::string_view piece, std::vector<TokenId>& into) const override;

 private:
  std::vector<std::string> bytes_;                     // by id
  std::unordered_map<std::string_view, TokenId> ids_;  // views into bytes_
  std::array<TokenId, 256> of_byte_{};
  std::vector<std::pair<TokenId, TokenId>> merges_;
  MergeTable table_;
  bool whole_pieces_first_;
  std::optional<TokenId> unknown_;
  bool complete_ = true;
};

}  // namespace athanor::model
