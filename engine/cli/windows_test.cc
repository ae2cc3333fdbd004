#include "engine/cli/windows.h"

#include <gtest/gtest.h>

#include <numeric>

#include "engine/tensor/cross_entropy.h"

namespace athanor::llm {
namespace {

TEST(Windows, PredictEveryTokenOnceWithAllTheContextThatThereIs) {
  for (const std::int64_t length : {1, 2, 5, 8}) {
    for (std::int64_t stride = 1; stride <= length; ++stride) {
      for (const std::int64_t size : {0, 1, 2, 5, 6, 7, 16, 17, 40}) {
        for (const std::size_t piece : {1, 3, 100}) {
          std::vector<int> times(static_cast<std::size_t>(size));
          Windows windows(length, stride,
                          [&](std::span<const model::TokenId> tokens, std::span<const std::int32_t> targets) {
                            ASSERT_EQ(tokens.size(), targets.size());
                            ASSERT_LE(std::ssize(tokens), length);
                            for (std::size_t i = 0; i < tokens.size(); ++i) {
                              ASSERT_EQ(tokens[i], tokens[0] + static_cast<int>(i));
                              if (targets[i] == tensor::kNoTarget) continue;
                              ASSERT_EQ(targets[i], tokens[i] + 1);
                              ++times[static_cast<std::size_t>(targets[i])];
                              ASSERT_TRUE(tokens[0] == 0 || static_cast<std::int64_t>(i) >= length - stride)
                                  << "too little context";
                            }
                          });
          std::vector<model::TokenId> text(static_cast<std::size_t>(size));
          std::iota(text.begin(), text.end(), 0);
          for (int turn = 1; turn <= 2; ++turn) {
            for (std::size_t at = 0; at < text.size(); at += piece) {
              windows.add(std::span(text).subspan(at, std::min(piece, text.size() - at)));
            }
            windows.end();
            for (std::int64_t i = 0; i < size; ++i) {
              ASSERT_EQ(times[static_cast<std::size_t>(i)], i == 0 ? 0 : turn)
                  << length << " " << stride << " " << size;
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace athanor::llm
