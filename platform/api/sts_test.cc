#include "platform/api/sts.h"

#include <gtest/gtest.h>

namespace athanor::api {
namespace {

const Caller kCaller{"000000000000", "arn:aws:iam::000000000000:user/athanor", "AIDAATHANOR"};

TEST(Sts, TellsTheCaller) {
  const auto reply = sts_reply("Action=GetCallerIdentity&Version=2011-06-15", kCaller, "id-1");
  EXPECT_NE(reply.find("<Account>000000000000</Account>"), std::string::npos);
  EXPECT_NE(reply.find("<Arn>arn:aws:iam::000000000000:user/athanor</Arn>"), std::string::npos);
  EXPECT_NE(reply.find("<RequestId>id-1</RequestId>"), std::string::npos);
}

TEST(Sts, RefusesOtherActionsAndEscapesWhatItQuotes) {
  const std::pair<const char*, const char*> rows[] = {{"", "MissingAction"},
                                                      {"Action=AssumeRole&Version=2011-06-15", "InvalidAction"},
                                                      {"Action=GetCallerIdentity&Version=1999-01-01", "InvalidAction"},
                                                      {"Action=%3Cb%3E&Version=2011-06-15", "InvalidAction"}};
  for (const auto& [form, code] : rows) {
    try {
      sts_reply(form, kCaller, "id");
      FAIL() << form;
    } catch (const ServiceError& error) {
      EXPECT_EQ(error.code(), code) << form;
      EXPECT_EQ(sts_error(error, "id").find("<b>"), std::string::npos);
      EXPECT_NE(sts_error(error, "\"i\x01&d\"").find("<RequestId>&quot;i&#x1;&amp;d&quot;</RequestId>"),
                std::string::npos);
    }
  }
}

}  // namespace
}  // namespace athanor::api
