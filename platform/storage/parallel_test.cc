#include "platform/storage/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

namespace athanor::storage {
namespace {

TEST(ForEachInParallel, DoesEveryItemOnce) {
  for (const std::size_t count : {0, 1, 3, 100}) {
    std::vector<std::atomic<int>> done(count);
    for_each_in_parallel(count, 4, [&](std::size_t i) { ++done[i]; });
    for (const auto& times : done) EXPECT_EQ(times, 1);
  }
}

TEST(ForEachInParallel, DoesNoMoreAtOnceThanAsked) {
  std::atomic<int> now = 0, most = 0;
  for_each_in_parallel(30, 3, [&](std::size_t) {
    const int here = ++now;
    for (int seen = most; here > seen && !most.compare_exchange_weak(seen, here);) {
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    --now;
  });
  EXPECT_LE(most, 3);
  EXPECT_GE(most, 2);
}

TEST(ForEachInParallel, BeginsNothingAfterAFailureAndTellsIt) {
  std::atomic<std::size_t> begun = 0;
  try {
    for_each_in_parallel(1'000'000, 2, [&](std::size_t i) {
      ++begun;
      if (i == 10) throw std::runtime_error("item 10");
    });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "item 10");
  }
  EXPECT_LT(begun, 1'000'000u);
}

}  // namespace
}  // namespace athanor::storage
