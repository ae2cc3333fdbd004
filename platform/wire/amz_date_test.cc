#include "platform/wire/amz_date.h"

#include <gtest/gtest.h>

namespace athanor::wire {
namespace {

TEST(AmzDate, DatesGoThereAndBack) {
  for (const std::int64_t seconds : {0LL, 951782400LL, 1369353600LL, 1709164799LL, 1709164800LL, 4102444800LL}) {
    EXPECT_EQ(parse_amz_date(format_amz_date(seconds * 1000)), seconds * 1000);
  }
  EXPECT_EQ(format_amz_date(1369353600000), "20130524T000000Z");
  EXPECT_EQ(parse_amz_date("20230229T000000Z"), std::nullopt);
  EXPECT_EQ(parse_amz_date("2013-05-24T00:00Z"), std::nullopt);
}

}  // namespace
}  // namespace athanor::wire
