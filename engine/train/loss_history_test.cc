#include "engine/train/loss_history.h"

#include <gtest/gtest.h>

namespace athanor::train {
namespace {

TEST(LossHistory, JudgesBySpikeOverTheMedianOnceItKnowsEnough) {
  LossHistory history;
  for (std::size_t i = 0; i < LossHistory::kNeeded; ++i) {
    EXPECT_FALSE(history.is_spike(1e9, 1.5));
    history.add(i % 2 ? 2.0 : 100.0 * (i == 4) + 1.9);  // one that was a spike does not hide the next
  }
  EXPECT_DOUBLE_EQ(history.median(), 2.0);
  EXPECT_FALSE(history.is_spike(3.0, 1.5));
  EXPECT_TRUE(history.is_spike(3.01, 1.5));
  EXPECT_FALSE(history.is_spike(1e9, 0));
}

TEST(LossHistory, ForgetsTheOldest) {
  LossHistory history;
  for (int i = 0; i < 200; ++i) history.add(i);
  ASSERT_EQ(history.size(), LossHistory::kSize);
  EXPECT_EQ(history.losses().front(), 136);
  EXPECT_EQ(history.losses().back(), 199);
  EXPECT_EQ(history.median(), 168);
}

}  // namespace
}  // namespace athanor::train
