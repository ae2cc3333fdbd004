#include "platform/server/agent_messages.h"

#include <gmock/gmock.h>

#include "common/error.h"
#include "platform/node/agent.pb.h"

namespace athanor::server {
namespace {

namespace proto = node::proto;

std::string hello(std::uint32_t protocol, int phase) {
  proto::FromAgent word;
  word.mutable_hello()->set_protocol(protocol);
  word.mutable_hello()->mutable_report()->set_phase(static_cast<proto::Phase>(phase));
  return word.SerializeAsString();
}

std::string report(int phase) {
  proto::FromAgent word;
  word.mutable_report()->set_phase(static_cast<proto::Phase>(phase));
  return word.SerializeAsString();
}

TEST(AgentMessages, VersionsAndPhasesThatAreNotKnownAreRefused) {
  struct Case {
    const char* what;
    std::string message;
    const char* refusal;  // null: taken
  };
  const Case kCases[] = {
      {"the first phase", hello(1, 0), nullptr},
      {"the last phase", hello(1, 9), nullptr},
      {"a phase beyond", hello(1, 10), "phase 10"},
      {"a phase before", hello(1, -1), "phase -1"},
      {"no version", hello(0, 0), "version 0 of the protocol, and this server version 1"},
      {"a later version", hello(2, 0), "version 2 of the protocol"},
      {"a report", report(9), nullptr},
      {"a report of a phase beyond", report(10), "phase 10"},
      {"a report of the largest number", report(INT32_MAX), "phase 2147483647"},
      {"a report of the smallest number", report(INT32_MIN), "phase -2147483648"},
      {"nothing", "", "nothing that this server knows"},
  };
  for (const Case& test : kCases) {
    SCOPED_TRACE(test.what);
    try {
      decode_from_agent(test.message);
      EXPECT_EQ(test.refusal, nullptr);
    } catch (const Error& error) {
      ASSERT_NE(test.refusal, nullptr) << error.what();
      EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
      EXPECT_THAT(error.what(), testing::HasSubstr(test.refusal));
    }
  }
}

}  // namespace
}  // namespace athanor::server
