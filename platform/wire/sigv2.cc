#include "platform/wire/sigv2.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "common/hash.h"
#include "platform/wire/header_text.h"

namespace athanor::wire {

namespace {

constexpr std::string_view kParameters[] = {"AWSAccessKeyId", "Signature", "Expires"};

// The parameters that are part of what is signed: they say which part of the resource is meant, or how it is answered.
constexpr std::string_view kSubresources[] = {"accelerate",
                                              "acl",
                                              "analytics",
                                              "cors",
                                              "defaultObjectAcl",
                                              "delete",
                                              "inventory",
                                              "lifecycle",
                                              "location",
                                              "logging",
                                              "metrics",
                                              "notification",
                                              "object-lock",
                                              "partNumber",
                                              "policy",
                                              "replication",
                                              "requestPayment",
                                              "response-cache-control",
                                              "response-content-disposition",
                                              "response-content-encoding",
                                              "response-content-language",
                                              "response-content-type",
                                              "response-expires",
                                              "restore",
                                              "select",
                                              "select-type",
                                              "storageClass",
                                              "tagging",
                                              "torrent",
                                              "uploadId",
                                              "uploads",
                                              "versionId",
                                              "versioning",
                                              "versions",
                                              "website"};

bool is_one_of(std::string_view name, std::span<const std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_header(std::string_view parameter) {
  return starts_with_without_case(parameter, "x-amz-") || equal_without_case(parameter, "content-type") ||
         equal_without_case(parameter, "content-md5");
}

std::string hmac_sha1(std::string_view key, std::string_view message) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  HMAC(EVP_sha1(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(message.data()),
       message.size(), digest.data(), &size);
  return {reinterpret_cast<const char*>(digest.data()), size};
}

// All that is a header, by lower-case name, in the headers or in the query in their stead.
std::map<std::string, std::string> signed_headers(const Request& request) {
  std::map<std::string, std::string> found;
  for (const auto& [name, value] : request.headers) {
    if (!is_header(name)) continue;
    std::string& joined = found[lower_case(name)];
    if (!joined.empty()) joined += ',';
    joined += trimmed(value);
  }
  for (const auto& [name, value] : request.query) {
    if (is_header(name)) found.try_emplace(lower_case(name), trimmed(value));
  }
  return found;
}

// "/BUCKET/key?uploads", the path as it was sent.
std::string canonical_resource(const Request& request, std::string_view host_bucket) {
  std::string resource = host_bucket.empty() ? "" : "/" + std::string(host_bucket);
  resource += request.path;
  const std::size_t question = request.target.find('?');
  if (question == std::string::npos) return resource;
  std::vector<std::pair<std::string, std::string>> parts;  // name; "=value", or nothing
  for_each_piece(std::string_view(request.target).substr(question + 1), '&', [&](std::string_view piece) {
    const std::size_t equals = std::min(piece.find('='), piece.size());
    const std::string_view name = piece.substr(0, equals);
    if (is_one_of(name, kSubresources)) parts.emplace_back(name, percent_decode(piece.substr(equals)));
  });
  std::stable_sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  char before = '?';
  for (const auto& [name, value] : parts) {
    resource += before + name + value;
    before = '&';
  }
  return resource;
}

std::string v2_string_to_sign(const Request& request, std::string_view host_bucket) {
  std::map<std::string, std::string> headers = signed_headers(request);
  std::string text = request.method + "\n" + headers["content-md5"] + "\n" + headers["content-type"] + "\n" +
                     *request.find_query("Expires") + "\n";
  headers.erase("content-md5");
  headers.erase("content-type");
  for (const auto& [name, value] : headers) text.append(name).append(":").append(value).append("\n");
  return text + canonical_resource(request, host_bucket);
}

}  // namespace

bool has_v2_query(const Request& request) {
  return request.find_query("Signature") != nullptr || request.find_query("AWSAccessKeyId") != nullptr;
}

void read_v2_query(const Request& request, SignatureClaim& claim) {
  claim.form = SignatureClaim::Form::kQueryV2;
  for (const std::string_view name : kParameters) {
    if (request.find_query(name) != nullptr) continue;
    claim.fault = SignatureFault::kIncomplete;
    claim.detail = "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters";
    return;
  }
  claim.access_key_id = *request.find_query("AWSAccessKeyId");
  claim.signature = *request.find_query("Signature");
  const std::map<std::string, std::string> headers = signed_headers(request);
  if (const auto token = headers.find("x-amz-security-token"); token != headers.end()) {
    claim.session_token = token->second;
  }
  const std::string& expires = *request.find_query("Expires");
  constexpr std::int64_t kExpiresMax_s = std::numeric_limits<std::int64_t>::max() / 1000;
  std::int64_t expires_s = 0;
  const auto [end, error] = std::from_chars(expires.data(), expires.data() + expires.size(), expires_s);
  if (error != std::errc() || end != expires.data() + expires.size() || expires_s < 0 || expires_s > kExpiresMax_s) {
    claim.fault = SignatureFault::kMalformedExpires;
    claim.detail = expires.substr(0, 64);
    return;
  }
  claim.time_ms = expires_s * 1000;
}

SignatureVerdict verify_v2_query(const Request& request, const SignatureClaim& claim,
                                 std::string_view secret_access_key, const VerifyOptions& options) {
  SignatureVerdict verdict;
  if (options.service != "s3") {
    verdict.fault = SignatureFault::kUnsupportedAlgorithm;
    verdict.detail = "HmacSHA1";
  } else if (options.now_ms > claim.time_ms) {
    verdict.fault = SignatureFault::kExpired;
  } else if (claim.payload == PayloadMode::kUnknown || claim.payload == PayloadMode::kStreamingSigned ||
             claim.payload == PayloadMode::kStreamingSignedTrailer) {  // chunks are signed with a key of version 4
    verdict.fault = SignatureFault::kPayloadInvalid;
    verdict.detail = claim.payload_hash;
  } else {
    std::string to_sign = v2_string_to_sign(request, options.host_bucket);
    if (!equal_constant_time(to_base64(hmac_sha1(secret_access_key, to_sign)), claim.signature)) {
      verdict.fault = SignatureFault::kMismatch;
      verdict.to_sign = std::move(to_sign);
    }
  }
  return verdict;
}

void take_up_v2_query(Request& request) {
  std::vector<std::pair<std::string, std::string>> rest;
  for (auto& [name, value] : request.query) {
    if (is_header(name)) {
      if (!request.headers.has(name)) request.headers.add(lower_case(name), std::move(value));
    } else if (!is_one_of(name, kParameters)) {
      rest.emplace_back(std::move(name), std::move(value));
    }
  }
  request.query = std::move(rest);
}

}  // namespace athanor::wire
