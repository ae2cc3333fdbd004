#include "platform/wire/sigv4.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/hash.h"
#include "platform/wire/amz_date.h"
#include "platform/wire/sigv4_verify.h"

namespace athanor::wire {
namespace {

using testing::HasSubstr;
using Fault = SignatureFault;

// The published examples of the S3 API reference: one key, one moment.
const Credentials kExample{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
constexpr std::int64_t kExampleTime_ms = 1369353600000;  // 20130524T000000Z

Request make_request(std::string method, std::string target, Headers headers, std::string body = "") {
  Request request;
  request.method = std::move(method);
  set_target(request, std::move(target));
  request.headers = std::move(headers);
  request.body = std::make_unique<StringBody>(std::move(body));
  return request;
}

SignatureVerdict verify(const Request& request, std::string_view secret, std::int64_t now_ms,
                        std::string_view service = "s3", std::string_view body_sha256 = "",
                        std::string_view region = "us-east-1") {
  SigningKeys keys;
  return verify_signature(request, read_signature(request), secret, keys, {region, service, now_ms, body_sha256});
}

struct Published {
  const char* name;
  const char* method;
  const char* target;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string payload_hash;
  const char* signature;
};

TEST(SigV4, SignsTheExamplesOfTheS3Reference) {
  const Published examples[] = {
      {"get",
       "GET",
       "/test.txt",
       {{"Range", "bytes=0-9"}},
       std::string(kEmptySha256),
       "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
      {"put",
       "PUT",
       "/test%24file.text",
       {{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
       to_hex(sha256("Welcome to Amazon S3.")),
       "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
      {"lifecycle",
       "GET",
       "/?lifecycle",
       {},
       std::string(kEmptySha256),
       "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
      {"list",
       "GET",
       "/?max-keys=2&prefix=J",
       {},
       std::string(kEmptySha256),
       "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
  };
  for (const Published& example : examples) {
    Headers headers;
    headers.add("Host", "examplebucket.s3.amazonaws.com");
    for (const auto& [name, value] : example.headers) headers.add(name, value);
    const Signature signature = sign_request(example.method, example.target, headers, kExample, "us-east-1", "s3",
                                             kExampleTime_ms, example.payload_hash);
    EXPECT_EQ(signature.signature, example.signature) << example.name;
    const Request request = make_request(example.method, example.target, headers);
    EXPECT_EQ(verify(request, kExample.secret_access_key, kExampleTime_ms).fault, Fault::kNone) << example.name;
  }
}

// A GET's target with the example key's signature in its query; only the host is signed.
std::string presigned(const std::string& path, const std::string& host, std::int64_t expires_s) {
  const Scope scope{"20130524", "us-east-1", "s3"};
  const std::string amz_date = format_amz_date(kExampleTime_ms);
  std::string query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + kExample.access_key_id +
                      "%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=" + amz_date +
                      "&X-Amz-Expires=" + std::to_string(expires_s) + "&X-Amz-SignedHeaders=host";
  Headers headers;
  headers.add("Host", host);
  const std::string canonical =
      canonical_request("GET", path, parse_query(query), headers, "host", kUnsignedPayload, "s3");
  const HmacKey key = derive_signing_key(kExample.secret_access_key, scope);
  return path + "?" + query + "&X-Amz-Signature=" + key.sign_hex(string_to_sign(amz_date, scope, canonical));
}

TEST(SigV4, AcceptsThePresignedExampleOfTheS3Reference) {
  const std::string target = presigned("/test.txt", "examplebucket.s3.amazonaws.com", 86400);
  EXPECT_THAT(target, HasSubstr("X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"));
  Headers headers;
  headers.add("Host", "examplebucket.s3.amazonaws.com");
  const Request request = make_request("GET", target, headers);
  EXPECT_TRUE(verify(request, kExample.secret_access_key, kExampleTime_ms + 86400'000).ok());
  EXPECT_EQ(verify(request, kExample.secret_access_key, kExampleTime_ms + 86401'000).fault, Fault::kExpired);
}

TEST(SigV4, SignsTheExamplesOfTheIamGuide) {
  const Credentials credentials{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""};
  constexpr std::int64_t kTime_ms = 1440938160000;  // 20150830T123600Z
  Headers vanilla;
  vanilla.add("Host", "example.amazonaws.com");
  EXPECT_EQ(sign_request("GET", "/", vanilla, credentials, "us-east-1", "service", kTime_ms, kEmptySha256).signature,
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
  Headers iam;
  iam.add("Host", "iam.amazonaws.com");
  iam.add("Content-Type", "application/x-www-form-urlencoded; charset=utf-8");
  EXPECT_EQ(sign_request("GET", "/?Action=ListUsers&Version=2010-05-08", iam, credentials, "us-east-1", "iam", kTime_ms,
                         kEmptySha256)
                .signature,
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
}

TEST(SigV4, CanonicalFormOfPathsDependsOnTheService) {
  const auto path = [](std::string_view sent, std::string_view service) {
    const std::string text = canonical_request("GET", sent, {}, Headers(), "host", "", service);
    const std::size_t start = text.find('\n') + 1;
    return text.substr(start, text.find('\n', start) - start);
  };
  // S3 takes keys literally; one spelling of each escape.
  EXPECT_EQ(path("/b/a//../%7e%2Bx%20!", "s3"), "/b/a//../~%2Bx%20%21");
  EXPECT_EQ(path("", "s3"), "/");
  // Others normalise, and escape what is escaped once more.
  EXPECT_EQ(path("/a/./b//../c%20d/", "iam"), "/a/c%2520d/");
  EXPECT_EQ(path("/..", "iam"), "/");
  EXPECT_EQ(path("//x", "iam"), "/x");
}

TEST(SigV4, CanonicalFormSortsQueriesAndFoldsHeaders) {
  Headers headers;
  headers.add("X-Two", "  a   b ");
  headers.add("x-two", "c");
  const std::string text =
      canonical_request("GET", "/", {{"b", "2"}, {"a", "z"}, {"a", "/ +"}, {"X-Amz-Signature", "x"}}, headers,
                        "absent;x-two", "hash", "sts");
  EXPECT_EQ(text, "GET\n/\na=%2F%20%2B&a=z&b=2\nabsent:\nx-two:a b,c\n\nabsent;x-two\nhash");
}

Headers signed_headers(std::int64_t time_ms, std::string_view service = "sagemaker", std::string_view body = "{}") {
  Headers headers;
  headers.add("Host", "localhost:9100");
  headers.add("X-Amz-Target", "SageMaker.ListTrainingJobs");
  sign_request("POST", "/", headers, kExample, "us-east-1", service, time_ms, to_hex(sha256(body)));
  return headers;
}

TEST(SigV4, TellsEveryFaultApart) {
  constexpr std::int64_t kNow_ms = kExampleTime_ms;
  const std::string body_hash = to_hex(sha256("{}"));
  const auto fault_of = [&](const Request& request, std::int64_t now_ms = kExampleTime_ms) {
    return verify(request, kExample.secret_access_key, now_ms, "sagemaker", body_hash).fault;
  };
  const auto with = [&](auto change) {
    Headers headers = signed_headers(kNow_ms);
    change(headers);
    return make_request("POST", "/", headers);
  };
  const auto edit = [&](std::string from, std::string to) {
    return with([&](Headers& headers) {
      std::string text = *headers.find("Authorization");
      text.replace(text.find(from), from.size(), to);
      headers.set("Authorization", text);
    });
  };
  EXPECT_EQ(fault_of(with([](Headers&) {})), Fault::kNone);
  EXPECT_EQ(fault_of(make_request("POST", "/", Headers())), Fault::kMissing);
  EXPECT_EQ(fault_of(edit("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1")), Fault::kUnsupportedAlgorithm);
  EXPECT_EQ(fault_of(edit("SignedHeaders", "SignedHeader")), Fault::kIncomplete);
  EXPECT_EQ(fault_of(edit("/aws4_request", "")), Fault::kMalformedCredential);
  EXPECT_EQ(fault_of(edit("/aws4_request", "/aws5_request")), Fault::kScopeTerminator);
  EXPECT_EQ(fault_of(edit("/20130524/", "/20130525/")), Fault::kScopeDate);
  EXPECT_EQ(fault_of(edit("/us-east-1/", "/eu-west-1/")), Fault::kScopeRegion);
  EXPECT_EQ(fault_of(edit("/sagemaker/", "/logs/")), Fault::kScopeService);
  EXPECT_EQ(fault_of(edit("host;", "")), Fault::kUnsignedHeader);
  EXPECT_EQ(fault_of(edit(";x-amz-target", "")), Fault::kUnsignedHeader);
  EXPECT_EQ(fault_of(edit("Signature=", "Signature=0")), Fault::kMismatch);
  EXPECT_EQ(fault_of(with([](Headers& h) { h.set("X-Amz-Date", "yesterday"); })), Fault::kMalformedDate);
  EXPECT_EQ(fault_of(with([](Headers& h) { h.set("X-Amz-Date", "20130431T000000Z"); })), Fault::kMalformedDate);
  EXPECT_EQ(fault_of(with([](Headers& h) { h.set("X-Amz-Date", "20130524T000001Z"); })), Fault::kMismatch);
  EXPECT_EQ(fault_of(with([](Headers& h) { h.set("X-Amz-Target", "SageMaker.DeleteTrainingJob"); })), Fault::kMismatch);
  EXPECT_EQ(fault_of(with([](Headers& h) { h.set("X-Amz-Content-Sha256", std::string(kEmptySha256)); })),
            Fault::kPayloadInvalid);
  EXPECT_EQ(fault_of(make_request("POST", "/other", signed_headers(kNow_ms))), Fault::kMismatch);
  EXPECT_EQ(fault_of(make_request("PUT", "/", signed_headers(kNow_ms))), Fault::kMismatch);
  EXPECT_EQ(fault_of(make_request("POST", "/?a", signed_headers(kNow_ms))), Fault::kMismatch);
  EXPECT_EQ(fault_of(make_request("POST", "/", signed_headers(kNow_ms, "sagemaker", "{ }"))), Fault::kMismatch);
  EXPECT_EQ(fault_of(with([](Headers&) {}), kNow_ms + kSkewMax_ms), Fault::kNone);
  EXPECT_EQ(fault_of(with([](Headers&) {}), kNow_ms + kSkewMax_ms + 1), Fault::kExpired);
  EXPECT_EQ(fault_of(with([](Headers&) {}), kNow_ms - kSkewMax_ms - 1), Fault::kNotYetValid);
  EXPECT_EQ(verify(with([](Headers&) {}), "another secret", kNow_ms, "sagemaker", body_hash).fault, Fault::kMismatch);
}

TEST(SigV4, S3WantsItsOwnHeadersSignedAndThePayloadNamed) {
  Headers headers;
  headers.add("Host", "localhost");
  sign_request("PUT", "/b/k", headers, kExample, "us-east-1", "s3", kExampleTime_ms, kUnsignedPayload);
  EXPECT_TRUE(verify(make_request("PUT", "/b/k", headers), kExample.secret_access_key, kExampleTime_ms).ok());

  Headers added = headers;
  added.add("x-amz-copy-source", "/b/secret");
  const auto verdict = verify(make_request("PUT", "/b/k", added), kExample.secret_access_key, kExampleTime_ms);
  EXPECT_EQ(verdict.fault, Fault::kUnsignedHeader);
  EXPECT_EQ(verdict.detail, "x-amz-copy-source");

  Headers odd = headers;
  odd.set("X-Amz-Content-Sha256", "STREAMING-SOMETHING");
  EXPECT_EQ(verify(make_request("PUT", "/b/k", odd), kExample.secret_access_key, kExampleTime_ms).fault,
            Fault::kPayloadInvalid);
}

TEST(SigV4, PresignedRequestsAreBoundedToAWeek) {
  for (const char* expires : {"604801", "-1", "x", "", "99999999999999999999"}) {
    Headers headers;
    headers.add("Host", "h");
    std::string target = presigned("/b/k", "h", 60);
    target.replace(target.find("Expires=60"), 10, std::string("Expires=") + expires);
    EXPECT_EQ(verify(make_request("GET", target, headers), kExample.secret_access_key, kExampleTime_ms).fault,
              Fault::kMalformedExpires)
        << expires;
  }
}

}  // namespace
}  // namespace athanor::wire
