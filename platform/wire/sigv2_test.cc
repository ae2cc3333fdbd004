#include "platform/wire/sigv2.h"

#include <gtest/gtest.h>

namespace athanor::wire {
namespace {

using Fault = SignatureFault;

constexpr std::int64_t kNow_ms = 1369353600000;  // 20130524T000000Z

struct Row {
  std::string method, target;
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::string host_bucket = "";
};

Request make_request(const Row& row) {
  Request request;
  request.method = row.method;
  set_target(request, row.target);
  request.headers.add("Host", "localhost");
  for (const auto& [name, value] : row.headers) request.headers.add(name, value);
  request.body = std::make_unique<StringBody>("");
  return request;
}

Fault judge(const Row& row, std::string_view secret = "person's secret", std::int64_t now_ms = kNow_ms,
            std::string_view service = "s3") {
  const Request request = make_request(row);
  SigningKeys keys;
  return verify_signature(request, read_signature(request), secret, keys,
                          {"us-east-1", service, now_ms, "", row.host_bucket})
      .fault;
}

TEST(SigV2, VerifiesTheExampleOfTheS3Guide) {
  const Row
      row{"GET",
          "/photos/"
          "puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620",
          {},
          "johnsmith"};
  EXPECT_EQ(judge(row, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", 1175139620'000), Fault::kNone);
  EXPECT_EQ(judge(row, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", 1175139620'001), Fault::kExpired);
}

// Made by botocore's HmacV1QueryAuth.
const Row kGet{"GET",
               "/bucket/a%20b/"
               "%C3%BC?response-content-disposition=attachment%3B%20x&x-id=GetObject&AWSAccessKeyId=AKIAPERSON&"
               "Signature=%2BGDTlmHJzUGLBNHy0Lq%2B3iZ0SCY%3D&Expires=1369357200"};
const Row kPut{"PUT",
               "/bucket/"
               "k?AWSAccessKeyId=AKIAPERSON&Signature=T2s%2BG0JKm7biEzncBVG%2BYi7f2A0%3D&content-type=text%2Fx&x-amz-"
               "meta-who=me&content-md5=abc%3D&x-amz-security-token=token&Expires=1369357200"};
const Row kPutPart{"PUT",
                   "/bucket/"
                   "k?partNumber=2&uploadId=u%2F1&AWSAccessKeyId=AKIAPERSON&Signature=%2FEWcB5h1w6Scd1oKdYWL%2BHoGZNk%"
                   "3D&Expires=1369357200"};
const Row
    kBegin{"POST",
           "/bucket/k?uploads&AWSAccessKeyId=AKIAPERSON&Signature=8B4ED6fFd%2BgKxIPQl8naCT4a6j0%3D&Expires=1369357200"};
const Row kHost{"GET",
                "/k?AWSAccessKeyId=AKIAPERSON&Signature=XMrkE01fFLdvgfWOGhQ8m9WjHo4%3D&Expires=1369357200",
                {},
                "bucket"};

TEST(SigV2, VerifiesWhatBotocoreSigns) {
  for (const Row& row : {kGet, kPut, kPutPart, kBegin, kHost}) EXPECT_EQ(judge(row), Fault::kNone) << row.target;
  Row sent = kPut;
  sent.headers = {{"Content-Type", "text/x"}, {"X-Amz-Meta-Who", " me "}};
  EXPECT_EQ(judge(sent), Fault::kNone) << "headers beside those in the query, saying the same";
}

TEST(SigV2, RefusesWhatWasTamperedWith) {
  const auto replaced = [](Row row, std::string_view from, std::string_view to) {
    row.target.replace(row.target.find(from), from.size(), to);
    return row;
  };
  Row other_method = kGet, header = kPut, more_headers = kGet;
  other_method.method = "DELETE";
  header.headers = {{"Content-Type", "text/y"}};
  more_headers.headers = {{"x-amz-copy-source", "/bucket/other"}};
  for (const Row& row :
       {other_method, header, more_headers, replaced(kGet, "a%20b", "a%20c"), replaced(kGet, "attachment", "inline"),
        replaced(kGet, "Expires=1369357200", "Expires=1369357201"), replaced(kGet, "x-id=", "versionId=1&x-id="),
        replaced(kGet, "x-id=", "x-amz-meta-a=1&x-id="), replaced(kPut, "who=me", "who=you"),
        replaced(kPutPart, "partNumber=2", "partNumber=3"), replaced(kBegin, "uploads", "uploads="),
        replaced(kGet, "%2BGDT", "%2BGDt")}) {
    EXPECT_EQ(judge(row), Fault::kMismatch) << row.method << " " << row.target;
  }
  EXPECT_EQ(judge(kGet, "another secret"), Fault::kMismatch);
  EXPECT_EQ(judge(kGet, "person's secret", 1369357200'001), Fault::kExpired);
  EXPECT_EQ(judge(kGet, "person's secret", kNow_ms, "sts"), Fault::kUnsupportedAlgorithm);
}

TEST(SigV2, TellsWhatIsMissingOrMalformed) {
  const auto fault = [](const std::string& query) {
    return read_signature(make_request({"GET", "/bucket/k?" + query})).fault;
  };
  EXPECT_EQ(fault("AWSAccessKeyId=a&Signature=b"), Fault::kIncomplete);
  EXPECT_EQ(fault("AWSAccessKeyId=a&Expires=1"), Fault::kIncomplete);
  EXPECT_EQ(fault("Signature=b&Expires=1"), Fault::kIncomplete);
  EXPECT_EQ(fault("Expires=1"), Fault::kMissing);
  for (const char* bad : {"", "soon", "-1", "1.5", "99999999999999999999"}) {
    EXPECT_EQ(fault("AWSAccessKeyId=a&Signature=b&Expires=" + std::string(bad)), Fault::kMalformedExpires) << bad;
  }
}

TEST(SigV2, HeadersInTheQueryBecomeHeaders) {
  Request request = make_request(kPut);
  request.query.emplace_back("partNumber", "1");
  EXPECT_EQ(read_signature(request).session_token, "token");
  take_up_v2_query(request);
  EXPECT_EQ(request.headers.get_or("Content-Type", ""), "text/x");
  EXPECT_EQ(request.headers.get_or("X-Amz-Meta-Who", ""), "me");
  ASSERT_EQ(request.query.size(), 1u);
  EXPECT_EQ(request.query[0].first, "partNumber");
}

}  // namespace
}  // namespace athanor::wire
