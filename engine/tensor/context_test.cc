#include "engine/tensor/context.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/error.h"

namespace athanor::tensor {
namespace {

TEST(Context, CoversEveryIndexOnceInMultiplesOfTheGrain) {
  for (const int threads : {1, 2, 3, 5}) {
    Context context(threads);
    for (const std::int64_t count : {0, 1, 7, 64, 65, 1000}) {
      for (const std::int64_t grain : {1, 16, 100}) {
        std::vector<std::atomic<int>> seen(static_cast<std::size_t>(count));
        context.parallel(count, grain, [&](std::int64_t begin, std::int64_t end, int thread) {
          ASSERT_GE(thread, 0);
          ASSERT_LT(thread, threads);
          EXPECT_EQ(begin % grain, 0);
          for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
        });
        for (const auto& times : seen) EXPECT_EQ(times, 1);
      }
    }
  }
}

TEST(Context, PassesOnAnExceptionOfAnyThreadAndGoesOn) {
  Context context(3);
  EXPECT_THROW(context.parallel(3, 1,
                                [](std::int64_t begin, std::int64_t, int) {
                                  if (begin == 2) throw std::runtime_error("third");
                                }),
               std::runtime_error);
  std::atomic<int> ran = 0;
  context.parallel(3, 1, [&](std::int64_t, std::int64_t, int) { ++ran; });
  EXPECT_EQ(ran, 3);
}

TEST(Context, FailuresOfSeveralThreadsEndWithTheirCall) {
  Context context(4);
  try {
    context.parallel(4, 1, [](std::int64_t begin, std::int64_t, int) {
      if (begin > 0) throw std::runtime_error(std::to_string(begin));
    });
    FAIL() << "three threads threw";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "1");
  }
  for (int round = 0; round < 3; ++round) {
    EXPECT_NO_THROW(context.parallel(4, 1, [](std::int64_t, std::int64_t, int) {}));
  }
}

TEST(Context, ManyShortRounds) {
  Context context(2);
  std::vector<std::int64_t> sums(2);
  for (int round = 0; round < 20000; ++round) {
    context.parallel(2, 1, [&](std::int64_t begin, std::int64_t, int) { ++sums[static_cast<std::size_t>(begin)]; });
  }
  EXPECT_EQ(sums, (std::vector<std::int64_t>{20000, 20000}));
}

TEST(Context, RefusesAnAbsurdNumberOfThreads) {
  EXPECT_THROW(Context(-1), Error);
  EXPECT_THROW(Context(100000), Error);
  EXPECT_GE(available_cpus(), 1);
  EXPECT_EQ(Context().threads(), available_cpus());
}

}  // namespace
}  // namespace athanor::tensor
