#include "engine/train/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"

namespace athanor::train {
namespace {

TEST(Schedule, FollowsItsShape) {
  const struct {
    Schedule schedule;
    std::vector<std::pair<std::int64_t, double>> rates;
  } cases[] = {
      {{ScheduleKind::kCosine, 1e-2, 1e-3, 103, 3},
       {{1, 1e-2 / 3}, {3, 1e-2}, {28, 8.681981e-3}, {53, 5.5e-3}, {103, 1e-3}, {200, 1e-3}}},
      {{ScheduleKind::kLinear, 1e-2, 2e-3, 103, 3}, {{1, 1e-2 / 3}, {3, 1e-2}, {28, 8e-3}, {53, 6e-3}, {103, 2e-3}}},
      {{ScheduleKind::kWsd, 1e-2, 0, 103, 3, 50},
       {{2, 2e-2 / 3}, {3, 1e-2}, {53, 1e-2}, {54, 0.98e-2}, {78, 5e-3}, {103, 0}}},
      {{ScheduleKind::kWsd, 1e-2, 0, 100, 0}, {{1, 1e-2}, {80, 1e-2}, {90, 5e-3}, {100, 0}}},
      {{ScheduleKind::kWsd, 1e-2, 0, 10, 6, 100},
       {{6, 1e-2}, {8, 5e-3}, {10, 0}}},  // no longer than what the warm-up leaves
      {{ScheduleKind::kWsd, 1e-2, 1e-3, 1, 0}, {{1, 1e-3}}},
      {{ScheduleKind::kConstant, 1e-2, 5e-3, 100, 4}, {{1, 2.5e-3}, {4, 1e-2}, {5, 1e-2}, {100, 1e-2}}},
  };
  for (const auto& [schedule, rates] : cases) {
    for (const auto& [step, rate] : rates) {
      EXPECT_NEAR(learning_rate_at(schedule, step), rate, 1e-8) << static_cast<int>(schedule.kind) << " at " << step;
    }
  }
}

TEST(Schedule, NeverJumpsNorRisesAfterTheWarmUp) {
  for (const auto kind : {ScheduleKind::kCosine, ScheduleKind::kLinear, ScheduleKind::kWsd, ScheduleKind::kConstant}) {
    for (const std::int64_t warmup : {0, 1, 17, 100}) {
      const Schedule schedule{kind, 1, 0.1, 100, warmup, 40};
      for (std::int64_t step = std::max<std::int64_t>(1, warmup); step < 100; ++step) {
        const double fall = learning_rate_at(schedule, step) - learning_rate_at(schedule, step + 1);
        EXPECT_GE(fall, 0);
        EXPECT_LE(fall, 0.9 / std::max<double>(1, static_cast<double>(std::min<std::int64_t>(40, 100 - warmup))) * 1.6);
      }
    }
  }
}

TEST(Schedule, HasAName) {
  EXPECT_EQ(schedule_kind("wsd"), ScheduleKind::kWsd);
  try {
    schedule_kind("Cosine");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("cosine, linear, wsd or constant"));
  }
}

}  // namespace
}  // namespace athanor::train
