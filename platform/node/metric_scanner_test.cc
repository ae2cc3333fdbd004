#include "platform/node/metric_scanner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"

namespace athanor::node {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(MetricScanner, TheLastMatchOfEachStands) {
  MetricScanner scanner({{"loss", "loss=([0-9.eE+-]+)"}, {"acc", "acc: (\\d+)%"}, {"never", "nothing(.)"}});
  scanner.scan("step 1 loss=3.25 acc: 10%", 1);
  scanner.scan("step 2 loss=2.5e-1", 2);
  EXPECT_THAT(scanner.latest(), ElementsAre(FinalMetric{"loss", 0.25, 2}, FinalMetric{"acc", 10, 1}));
}

TEST(MetricScanner, WordsThatAreNoNumbersAreNoMetrics) {
  MetricScanner scanner(std::vector<MetricDefinition>{{"loss", "loss=(\\S*)"}});
  for (const char* line : {"loss=nan", "loss=inf", "loss=", "loss=1.5x", "loss=abc"}) scanner.scan(line, 1);
  EXPECT_THAT(scanner.latest(), IsEmpty());
}

TEST(MetricScanner, ABrokenExpressionIsTheClientsError) {
  try {
    MetricScanner scanner(std::vector<MetricDefinition>{{"loss", "loss=(["}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
    EXPECT_THAT(error.what(), testing::StartsWith("ClientError: "));
    EXPECT_THAT(error.what(), testing::HasSubstr("loss"));
  }
}

}  // namespace
}  // namespace athanor::node
