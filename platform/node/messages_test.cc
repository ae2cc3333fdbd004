#include "platform/node/messages.h"

#include <gtest/gtest.h>

#include "platform/node/agent.pb.h"

namespace athanor::node {
namespace {

TEST(MessagesTest, AReportIsReadWhateverTheJobNamedItsFiles) {
  Report report;
  report.job = "job";
  report.detail = "copying \xc3";
  report.error = "ClientError: Unable to upload the job's artifacts: /opt/ml/model/\xff: it cannot be read";
  report.exit = Exit{.code = 1, .failure = "caf\xe9"};
  for (const std::string& bytes : {encode_report(report), encode_hello("i1", "token", report)}) {
    proto::FromAgent message;
    ASSERT_TRUE(message.ParseFromString(bytes));
    const proto::Report& read = message.has_report() ? message.report() : message.hello().report();
    EXPECT_EQ(read.detail(), "copying \xef\xbf\xbd");
    EXPECT_EQ(read.error(),
              "ClientError: Unable to upload the job's artifacts: /opt/ml/model/\xef\xbf\xbd: it cannot be read");
    EXPECT_EQ(read.exit().failure(), "caf\xef\xbf\xbd");
  }
}

}  // namespace
}  // namespace athanor::node
