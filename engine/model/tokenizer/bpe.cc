#include "engine/model/tokenizer/bpe.h"

#include <algorithm>

#include "common/error.h"

namespace athanor::model {

Bpe::Bpe(const std::vector<std::pair<std::string, TokenId>>& vocabulary,
         std::vector<std::pair<TokenId, TokenId>> merges, bool whole_pieces_first, std::optional<TokenId> unknown)
    : merges_(std::move(merges)), whole_pieces_first_(whole_pieces_first), unknown_(unknown) {
  TokenId end = 0;
  for (const auto& [bytes, id] : vocabulary) {
    if (id < 0 || id >= kIdMax) {
      throw Error(ErrorKind::kInvalid, "the tokenizer has a token with id {}; ids must be 0 to {}", id, kIdMax - 1);
    }
    if (bytes.empty()) throw Error(ErrorKind::kInvalid, "the tokenizer's token {} is empty", id);
    end = std::max(end, id + 1);
  }
  bytes_.resize(static_cast<std::size_t>(end));
  for (const auto& [bytes, id] : vocabulary) {
    std::string& slot = bytes_[static_cast<std::size_t>(id)];
    if (!slot.empty()) throw Error(ErrorKind::kInvalid, "the tokenizer gives id {} to two tokens", id);
    slot = bytes;
  }
  ids_.reserve(vocabulary.size());
  for (TokenId id = 0; id < end; ++id) {
    if (has(id) && !ids_.emplace(bytes(id), id).second) {
      throw Error(ErrorKind::kInvalid, "the tokenizer's tokens {} and {} are the same", ids_.at(bytes(id)), id);
    }
  }
  bool any = false;
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const auto found = ids_.find(std::string_view(&c, 1));
    any = any || found != ids_.end();
    complete_ = complete_ && found != ids_.end();
    of_byte_[static_cast<std::size_t>(byte)] = found != ids_.end() ? found->second : unknown.value_or(-1);
  }
  if (!any) {
    throw Error(ErrorKind::kInvalid, "the tokenizer has a token for no single byte, so it is no byte-level BPE");
  }

  std::vector<Merge> joined;
  joined.reserve(merges_.size());
  std::string merged;
  for (std::size_t rank = 0; rank < merges_.size(); ++rank) {
    const auto [left, right] = merges_[rank];
    if (!has(left) || !has(right)) {
      throw Error(ErrorKind::kInvalid, "the tokenizer's merge number {} joins tokens that it does not have", rank);
    }
    merged.assign(bytes(left)).append(bytes(right));
    const auto result = ids_.find(merged);
    if (result == ids_.end()) {
      throw Error(ErrorKind::kInvalid, "the tokenizer's merge number {} makes a token that it does not have", rank);
    }
    joined.push_back({left, right, result->second, static_cast<std::int32_t>(rank)});
  }
  table_ = MergeTable(joined);
}

bool Bpe::has(TokenId id) const { return id >= 0 && id < id_end() && !bytes(id).empty(); }

void Bpe::encode(std::string_view piece, std::vector<TokenId>& into) const {
  if (whole_pieces_first_) {
    if (const auto whole = ids_.find(piece); whole != ids_.end()) {
      into.push_back(whole->second);
      return;
    }
  }
  const std::size_t from = into.size();
  for (const char byte : piece) {
    const TokenId id = of_byte_[static_cast<unsigned char>(byte)];
    if (id >= 0) into.push_back(id);
  }
  table_.apply(into, from);
}

}  // namespace athanor::model
