#include "platform/api/authentication.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "common/hash.h"
#include "platform/wire/sigv4.h"

namespace athanor::api {
namespace {

using testing::HasSubstr;
using wire::SignatureFault;

constexpr std::int64_t kNow_ms = 1369353600000;  // 20130524T000000Z

class MapKeys final : public AccessKeys {
 public:
  std::map<std::string, AccessKey, std::less<>> keys;
  std::optional<AccessKey> find(std::string_view id) const override {
    const auto found = keys.find(id);
    return found == keys.end() ? std::nullopt : std::optional(found->second);
  }
};

class AuthenticationTest : public testing::Test {
 protected:
  AuthenticationTest() {
    keys_.keys["AKIAPERSON"] = {"person's secret", "", "arn:aws:iam::000000000000:user/athanor", 0};
    keys_.keys["ASIAJOB"] = {"job's secret", "token", "arn:aws:sts::000000000000:assumed-role/athanor/job",
                             kNow_ms + 60'000};
  }
  wire::Request signed_by(const wire::Credentials& who, std::string_view service = "sagemaker") {
    wire::Request request;
    request.method = "POST";
    wire::set_target(request, "/");
    request.headers.add("Host", "localhost:9100");
    request.headers.add("X-Amz-Target", "SageMaker.ListTrainingJobs");
    request.body = std::make_unique<wire::StringBody>("{}");
    wire::sign_request("POST", "/", request.headers, who, "us-east-1", service, clock_.wall_ms(), hash_);
    return request;
  }
  Authentication check(const wire::Request& request) {
    return authenticator_.check(request, wire::read_signature(request), "sagemaker", hash_);
  }
  SignatureRefusal refusal(const wire::Request& request, bool query_protocol = false) {
    const Authentication failed = check(request);
    EXPECT_FALSE(failed.ok());
    return refusal_of(failed, request, query_protocol, clock_.wall_ms(), "us-east-1", "sagemaker");
  }

  MapKeys keys_;
  VirtualClock clock_{kNow_ms};
  Authenticator authenticator_{keys_, clock_, "us-east-1"};
  std::string hash_ = to_hex(sha256("{}"));
  const wire::Credentials person_{"AKIAPERSON", "person's secret", ""};
  const wire::Credentials job_{"ASIAJOB", "job's secret", "token"};
};

TEST_F(AuthenticationTest, TellsWhoSigned) {
  EXPECT_EQ(check(signed_by(person_)).principal, "arn:aws:iam::000000000000:user/athanor");
  EXPECT_EQ(check(signed_by(job_)).principal, "arn:aws:sts::000000000000:assumed-role/athanor/job");
}

TEST_F(AuthenticationTest, WantsTheTokenThatBelongsToTheKeyAndInTime) {
  EXPECT_EQ(check(signed_by({"ASIAJOB", "job's secret", ""})).fault, AuthenticationFault::kInvalidToken);
  EXPECT_EQ(check(signed_by({"ASIAJOB", "job's secret", "other"})).fault, AuthenticationFault::kInvalidToken);
  EXPECT_EQ(check(signed_by({"AKIAPERSON", "person's secret", "token"})).fault, AuthenticationFault::kInvalidToken);
  clock_.advance_ms(60'000);
  EXPECT_EQ(check(signed_by(job_)).fault, AuthenticationFault::kExpiredToken);
  EXPECT_EQ(refusal(signed_by(job_)).code, "ExpiredTokenException");
  EXPECT_EQ(refusal(signed_by(job_), true).code, "ExpiredToken");
}

TEST_F(AuthenticationTest, RefusesInTheServicesWords) {
  EXPECT_EQ(refusal(signed_by({"AKIANOBODY", "x", ""})).code, "UnrecognizedClientException");
  EXPECT_EQ(refusal(signed_by({"AKIANOBODY", "x", ""}), true).code, "InvalidClientTokenId");
  const auto mismatch = refusal(signed_by({"AKIAPERSON", "wrong", ""}));
  EXPECT_EQ(mismatch.code, "InvalidSignatureException");
  EXPECT_THAT(mismatch.message, HasSubstr("The request signature we calculated does not match"));
  EXPECT_EQ(refusal(signed_by(person_, "logs")).message,
            "Credential should be scoped to correct service: 'sagemaker'.");

  wire::Request unsigned_request = signed_by(person_);
  unsigned_request.headers = {};
  EXPECT_EQ(refusal(unsigned_request).code, "MissingAuthenticationTokenException");
  EXPECT_EQ(refusal(unsigned_request, true).code, "MissingAuthenticationToken");

  wire::Request late = signed_by(person_);
  clock_.advance_ms(20 * 60'000);
  EXPECT_EQ(refusal(late).message,
            "Signature expired: 20130524T000000Z is now earlier than 20130524T000500Z (20130524T002000Z - 15 min.)");
  clock_.advance_ms(-40 * 60'000);
  EXPECT_EQ(
      refusal(late).message,
      "Signature not yet current: 20130524T000000Z is still later than 20130523T235500Z (20130523T234000Z + 15 min.)");
}

}  // namespace
}  // namespace athanor::api
