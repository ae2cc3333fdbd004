// AWS Signature Version 4: the canonical form of a request, and signing for our clients. sigv4_verify.h is the server's end.
//
// Specification: "Signature Version 4 for API requests" in the IAM guide, and "Authenticating Requests" in the S3 API
// reference (its path and payload rules differ: `Scope::service == "s3"`). Checked against botocore and the published
// examples.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "platform/wire/http.h"
#include "platform/wire/signing_key.h"

namespace athanor::wire {

struct Credentials {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;  // empty for long-term keys
};

inline constexpr std::string_view kSigningAlgorithm = "AWS4-HMAC-SHA256";
inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";
inline constexpr std::string_view kEmptySha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

// The canonical request. `path` is as sent (encoded). `signed_headers` is lower case, joined by ';'; each must be
// present (absent ones count as empty). The query's X-Amz-Signature is left out.
std::string canonical_request(std::string_view method, std::string_view path,
                              const std::vector<std::pair<std::string, std::string>>& query, const Headers& headers,
                              std::string_view signed_headers, std::string_view payload_hash, std::string_view service);
// "AWS4-HMAC-SHA256\nDATE\nSCOPE\nHASH".
std::string string_to_sign(std::string_view amz_date, const Scope& scope, std::string_view canonical);

// What was signed with, for those who go on to sign chunks.
struct Signature {
  std::string amz_date;
  Scope scope;
  std::string signature;  // 64 hexadecimal digits
};

// Adds X-Amz-Date, X-Amz-Security-Token (with a session token), X-Amz-Content-Sha256 (s3 only) and Authorization.
// `headers` must hold Host already, and whatever else is to be signed; all of it is signed except what proxies change.
// `target` is as it will be sent. `payload_hash` is the body's SHA-256 in hex, kUnsignedPayload or a STREAMING- mode.
Signature sign_request(std::string_view method, const std::string& target, Headers& headers,
                       const Credentials& credentials, std::string_view region, std::string_view service,
                       std::int64_t now_ms, std::string_view payload_hash);

}  // namespace athanor::wire
