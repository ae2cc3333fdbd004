#include "engine/model/tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <queue>

#include "common/error.h"

namespace athanor::model {

namespace {

constexpr std::size_t kShortPieceBytes = 128;

std::uint64_t pair_key(TokenId left, TokenId right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

std::size_t slot_of(std::uint64_t key, std::size_t mask) {
  key ^= key >> 29;
  return static_cast<std::size_t>(key * 0x9e3779b97f4a7c15u >> 20) & mask;
}

}  // namespace

Bpe::Bpe(const std::vector<std::pair<std::string, TokenId>>& vocabulary,
         std::vector<std::pair<TokenId, TokenId>> merges, bool whole_pieces_first)
    : merges_(std::move(merges)), whole_pieces_first_(whole_pieces_first) {
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
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const auto found = ids_.find(std::string_view(&c, 1));
    if (found == ids_.end()) {
      throw Error(ErrorKind::kInvalid,
                  "the tokenizer has no token for the byte 0x{:02x}: it is no byte-level BPE, or is incomplete", byte);
    }
    of_byte_[static_cast<std::size_t>(byte)] = found->second;
  }

  table_.assign(std::bit_ceil(2 * merges_.size() + 2), Merge{kNoPair, 0, 0});
  const std::size_t mask = table_.size() - 1;
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
    std::size_t slot = slot_of(pair_key(left, right), mask);
    while (table_[slot].pair != kNoPair && table_[slot].pair != pair_key(left, right)) slot = (slot + 1) & mask;
    if (table_[slot].pair == kNoPair) {
      table_[slot] = {pair_key(left, right), static_cast<std::int32_t>(rank), result->second};
    }
  }
}

bool Bpe::has(TokenId id) const { return id >= 0 && id < id_end() && !bytes(id).empty(); }

const Bpe::Merge* Bpe::find(TokenId left, TokenId right) const {
  const std::uint64_t key = pair_key(left, right);
  const std::size_t mask = table_.size() - 1;
  for (std::size_t slot = slot_of(key, mask);; slot = (slot + 1) & mask) {
    if (table_[slot].pair == key) return &table_[slot];
    if (table_[slot].pair == kNoPair) return nullptr;
  }
}

void Bpe::encode(std::string_view piece, std::vector<TokenId>& into) const {
  if (whole_pieces_first_) {
    if (const auto whole = ids_.find(piece); whole != ids_.end()) {
      into.push_back(whole->second);
      return;
    }
  }
  piece.size() <= kShortPieceBytes ? encode_short(piece, into) : encode_long(piece, into);
}

// Words are short: looking at all pairs for each merge beats any queue.
void Bpe::encode_short(std::string_view piece, std::vector<TokenId>& into) const {
  TokenId tokens[kShortPieceBytes];
  const Merge* merges[kShortPieceBytes];  // merges[i] joins tokens[i] and tokens[i + 1]; null when nothing does
  std::size_t count = piece.size();
  for (std::size_t i = 0; i < count; ++i) tokens[i] = of_byte_[static_cast<unsigned char>(piece[i])];
  for (std::size_t i = 0; i + 1 < count; ++i) merges[i] = find(tokens[i], tokens[i + 1]);
  while (count > 1) {
    std::size_t best = count;
    std::int32_t best_rank = INT32_MAX;
    for (std::size_t i = 0; i + 1 < count; ++i) {
      if (merges[i] != nullptr && merges[i]->rank < best_rank) {
        best = i;
        best_rank = merges[i]->rank;
      }
    }
    if (best == count) break;
    tokens[best] = merges[best]->result;
    std::copy(tokens + best + 2, tokens + count, tokens + best + 1);
    if (best + 2 < count) std::copy(merges + best + 2, merges + count - 1, merges + best + 1);
    --count;
    if (best > 0) merges[best - 1] = find(tokens[best - 1], tokens[best]);
    if (best + 1 < count) merges[best] = find(tokens[best], tokens[best + 1]);
  }
  into.insert(into.end(), tokens, tokens + count);
}

// A linked list of tokens and a queue of possible merges; entries that no longer fit are skipped when they come up.
void Bpe::encode_long(std::string_view piece, std::vector<TokenId>& into) const {
  struct Node {
    TokenId token;
    std::int64_t previous, next;  // -1 at the ends
  };
  struct Candidate {
    std::int32_t rank;
    std::int64_t left;  // node
    TokenId left_token, right_token, result;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  const auto count = static_cast<std::int64_t>(piece.size());
  std::vector<Node> nodes(piece.size());
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto node = [&](std::int64_t i) -> Node& { return nodes[static_cast<std::size_t>(i)]; };
  const auto consider = [&](std::int64_t left) {
    if (left < 0 || node(left).next < 0) return;
    const TokenId right_token = node(node(left).next).token;
    if (const Merge* merge = find(node(left).token, right_token)) {
      queue.push({merge->rank, left, node(left).token, right_token, merge->result});
    }
  };
  for (std::int64_t i = 0; i < count; ++i) {
    node(i) = {of_byte_[static_cast<unsigned char>(piece[static_cast<std::size_t>(i)])], i - 1,
               i + 1 < count ? i + 1 : -1};
  }
  for (std::int64_t i = 0; i < count; ++i) consider(i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Node& left = node(top.left);
    if (left.token != top.left_token || left.next < 0 || node(left.next).token != top.right_token) continue;
    Node& right = node(left.next);
    right.token = -1;  // gone: no candidate fits it
    left.token = top.result;
    left.next = right.next;
    if (left.next >= 0) node(left.next).previous = top.left;
    consider(left.previous);
    consider(top.left);
  }
  for (std::int64_t i = 0; i >= 0; i = node(i).next) into.push_back(node(i).token);
}

}  // namespace athanor::model
