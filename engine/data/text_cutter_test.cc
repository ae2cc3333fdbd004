#include "engine/data/text_cutter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace athanor::data {
namespace {

using testing::ElementsAre;
using Ids = std::vector<std::int32_t>;

// The documents of texts of `sizes` tokens, each counted from 0; `piece` tokens are given at once.
std::vector<Ids> cut(std::int64_t length, const std::vector<int>& sizes, std::size_t piece) {
  std::vector<Ids> documents;
  TextCutter cutter(length, [&](std::span<const TokenRun> document) {
    EXPECT_EQ(document.size(), 1);
    EXPECT_TRUE(document[0].in_loss);
    documents.push_back(document[0].tokens);
  });
  for (const int size : sizes) {
    Ids text(static_cast<std::size_t>(size));
    std::iota(text.begin(), text.end(), 0);
    for (std::size_t at = 0; at < text.size(); at += piece) {
      cutter.append(std::span(text).subspan(at, std::min(piece, text.size() - at)));
    }
    cutter.finish();
  }
  return documents;
}

TEST(TextCutter, EveryTokenButTheFirstIsPredictedOnce) {
  for (const std::size_t piece : {1, 2, 3, 100}) {
    EXPECT_THAT(cut(3, {8}, piece), ElementsAre(Ids{0, 1, 2, 3}, Ids{3, 4, 5, 6}, Ids{6, 7}));
    EXPECT_THAT(cut(3, {7}, piece), ElementsAre(Ids{0, 1, 2, 3}, Ids{3, 4, 5, 6}));
    EXPECT_THAT(cut(1, {3}, piece), ElementsAre(Ids{0, 1}, Ids{1, 2}));
  }
}

TEST(TextCutter, TextsDoNotRunTogether) {
  EXPECT_THAT(cut(4, {2, 0, 1, 5, 3}, 2), ElementsAre(Ids{0, 1}, Ids{0, 1, 2, 3, 4}, Ids{0, 1, 2}));
}

}  // namespace
}  // namespace athanor::data
