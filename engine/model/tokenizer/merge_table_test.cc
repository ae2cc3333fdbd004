#include "engine/model/tokenizer/merge_table.h"

#include <gtest/gtest.h>

#include "common/random.h"

namespace athanor::model {
namespace {

// The definition, word for word.
std::vector<TokenId> merged_by_definition(const std::vector<Merge>& merges, std::vector<TokenId> tokens) {
  while (true) {
    const Merge* best = nullptr;
    std::size_t place = 0;
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
      for (const Merge& merge : merges) {  // the first of a pair counts
        if (merge.left != tokens[i] || merge.right != tokens[i + 1]) continue;
        if (best == nullptr || merge.rank < best->rank) best = &merge, place = i;
        break;
      }
    }
    if (best == nullptr) return tokens;
    tokens[place] = best->result;
    tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

// Property: short sequences and long ones (the border is 128 tokens) merge as defined, also with equal ranks and behind
// tokens that are left alone.
TEST(MergeTable, MergesAsDefinedWhateverTheLength) {
  SeededRandom random(8);
  for (int round = 0; round < 120; ++round) {
    std::vector<Merge> merges;
    for (TokenId made = 4; made < 24; ++made) {
      merges.push_back({static_cast<TokenId>(random.below(made)), static_cast<TokenId>(random.below(made)), made,
                        static_cast<std::int32_t>(round % 2 ? random.below(6) : made)});
    }
    std::vector<TokenId> tokens(round % 4 == 0 ? random.below(20) : 100 + random.below(200));
    for (TokenId& token : tokens) token = static_cast<TokenId>(random.below(4));
    std::vector<TokenId> found{0, 1, 2};
    found.insert(found.end(), tokens.begin(), tokens.end());
    MergeTable(merges).apply(found, 3);
    std::vector<TokenId> expected{0, 1, 2};
    for (const TokenId token : merged_by_definition(merges, tokens)) expected.push_back(token);
    ASSERT_EQ(found, expected) << "round " << round;
  }
}

}  // namespace
}  // namespace athanor::model
