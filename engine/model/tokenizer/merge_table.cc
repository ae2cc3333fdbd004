#include "engine/model/tokenizer/merge_table.h"

#include <algorithm>
#include <bit>
#include <queue>

namespace athanor::model {

namespace {

constexpr std::size_t kShortTokens = 128;

std::uint64_t pair_key(TokenId left, TokenId right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

std::size_t slot_of(std::uint64_t key, std::size_t mask) {
  key ^= key >> 29;
  return static_cast<std::size_t>(key * 0x9e3779b97f4a7c15u >> 20) & mask;
}

}  // namespace

MergeTable::MergeTable(const std::vector<Merge>& merges) {
  slots_.assign(std::bit_ceil(2 * merges.size() + 2), Slot{kNoPair, 0, 0});
  const std::size_t mask = slots_.size() - 1;
  for (const Merge& merge : merges) {
    const std::uint64_t key = pair_key(merge.left, merge.right);
    std::size_t slot = slot_of(key, mask);
    while (slots_[slot].pair != kNoPair && slots_[slot].pair != key) slot = (slot + 1) & mask;
    if (slots_[slot].pair == kNoPair) slots_[slot] = {key, merge.rank, merge.result};
  }
}

const MergeTable::Slot* MergeTable::find(TokenId left, TokenId right) const {
  const std::uint64_t key = pair_key(left, right);
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t slot = slot_of(key, mask);; slot = (slot + 1) & mask) {
    if (slots_[slot].pair == key) return &slots_[slot];
    if (slots_[slot].pair == kNoPair) return nullptr;
  }
}

void MergeTable::apply(std::vector<TokenId>& tokens, std::size_t from) const {
  tokens.size() - from <= kShortTokens ? apply_short(tokens, from) : apply_long(tokens, from);
}

// Words are short: looking at all pairs for each merge beats any queue.
void MergeTable::apply_short(std::vector<TokenId>& all, std::size_t from) const {
  TokenId* tokens = all.data() + from;
  const Slot* merges[kShortTokens];  // merges[i] joins tokens[i] and tokens[i + 1]; null when nothing does
  std::size_t count = all.size() - from;
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
  all.resize(from + count);
}

// A linked list of tokens and a queue of possible merges; entries that no longer fit are skipped when they come up.
void MergeTable::apply_long(std::vector<TokenId>& tokens, std::size_t from) const {
  struct Node {
    TokenId token;
    std::int64_t previous, next;  // -1 at the ends
  };
  struct Candidate {
    std::int32_t rank;
    std::int64_t left;  // node
    TokenId left_token, right_token, result;
    bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : left > other.left; }
  };
  const auto count = static_cast<std::int64_t>(tokens.size() - from);
  std::vector<Node> nodes(tokens.size() - from);
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto node = [&](std::int64_t i) -> Node& { return nodes[static_cast<std::size_t>(i)]; };
  const auto consider = [&](std::int64_t left) {
    if (left < 0 || node(left).next < 0) return;
    const TokenId right_token = node(node(left).next).token;
    if (const Slot* merge = find(node(left).token, right_token)) {
      queue.push({merge->rank, left, node(left).token, right_token, merge->result});
    }
  };
  for (std::int64_t i = 0; i < count; ++i) {
    node(i) = {tokens[from + static_cast<std::size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1};
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
  std::size_t end = from;
  for (std::int64_t i = 0; i >= 0; i = node(i).next) tokens[end++] = node(i).token;
  tokens.resize(end);
}

}  // namespace athanor::model
