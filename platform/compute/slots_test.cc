#include "platform/compute/slots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace athanor::compute {
namespace {

using testing::ElementsAre;

TEST(Cut, SharesProcessorsAndMemoryEvenly) {
  const auto three = cut({0, 1, 2, 5, 6, 7, 8}, 3000, 3);
  ASSERT_EQ(three.size(), 3U);
  EXPECT_THAT(three[0].cpus, ElementsAre(0, 1));
  EXPECT_THAT(three[1].cpus, ElementsAre(2, 5));
  EXPECT_THAT(three[2].cpus, ElementsAre(6, 7, 8));
  EXPECT_EQ(three[0].memory_bytes, 1000U);
  EXPECT_EQ(cut({0, 1, 2, 3}, 1, 0).size(), 2U) << "two by default";
  EXPECT_EQ(cut({4}, 1, 0).size(), 1U) << "one on a machine with one processor";
  const auto shared = cut({0, 1}, 1, 3);
  EXPECT_THAT(shared[2].cpus, ElementsAre(0)) << "more instances than processors share them";
}

}  // namespace
}  // namespace athanor::compute
