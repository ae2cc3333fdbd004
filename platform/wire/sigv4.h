// AWS Signature Version 4: signing, for our clients, and verifying, for our server.
//
// Specification: "Signature Version 4 for API requests" in the IAM guide, and "Authenticating Requests" in the S3 API
// reference (its path and payload rules differ: `Scope::service == "s3"`). Checked against botocore and the published
// examples. Free of any service's wording: a verdict is an enum with details, and the fronts turn it into their errors.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "platform/wire/http.h"

namespace athanor::wire {

struct Credentials {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;  // empty for long-term keys
};

// What a signing key is good for.
struct Scope {
  std::string date;  // YYYYMMDD
  std::string region;
  std::string service;
};

inline constexpr std::int64_t kSkewMax_ms = 15 * 60 * 1000;
inline constexpr std::int64_t kPresignedMax_s = 7 * 24 * 3600;
inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";
inline constexpr std::string_view kEmptySha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

// "20130524T000000Z" and back. parse: nothing when it is not of that form.
std::string format_amz_date(std::int64_t wall_ms);
std::optional<std::int64_t> parse_amz_date(std::string_view text);

// ---------------------------------------------------------------- signing keys

// An HMAC-SHA256 key with its first block already hashed: each use costs the message alone.
class HmacKey {
 public:
  explicit HmacKey(std::string_view key);
  std::string sign(std::string_view message) const;      // 32 raw bytes
  std::string sign_hex(std::string_view message) const;  // 64 digits

 private:
  // SHA-256's state after the inner and the outer padded key.
  std::array<std::uint32_t, 8> inner_;
  std::array<std::uint32_t, 8> outer_;
};

HmacKey derive_signing_key(std::string_view secret_access_key, const Scope& scope);

// Signing keys already derived (four HMACs each). Bounded; any thread.
class SigningKeys {
 public:
  std::shared_ptr<const HmacKey> get(std::string_view access_key_id, std::string_view secret_access_key,
                                     const Scope& scope);

 private:
  struct Entry {
    std::string secret_access_key;
    std::shared_ptr<const HmacKey> key;
  };
  std::mutex mutex_;
  std::unordered_map<std::string, Entry> entries_;  // guarded by mutex_; "AKID/date/region/service"
};

// ---------------------------------------------------------------- canonical form

// The canonical request. `path` is as sent (encoded). `signed_headers` is lower case, joined by ';'; each must be
// present (absent ones count as empty). The query's X-Amz-Signature is left out.
std::string canonical_request(std::string_view method, std::string_view path,
                              const std::vector<std::pair<std::string, std::string>>& query, const Headers& headers,
                              std::string_view signed_headers, std::string_view payload_hash, std::string_view service);
// "AWS4-HMAC-SHA256\nDATE\nSCOPE\nHASH".
std::string string_to_sign(std::string_view amz_date, const Scope& scope, std::string_view canonical);

// ---------------------------------------------------------------- signing

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

// ---------------------------------------------------------------- verifying

enum class PayloadMode {
  kAbsent,                    // no x-amz-content-sha256: the hash of the body itself is signed
  kSha256,                    // a hash in hex
  kUnsigned,                  // UNSIGNED-PAYLOAD
  kStreamingSigned,           // STREAMING-AWS4-HMAC-SHA256-PAYLOAD
  kStreamingSignedTrailer,    // STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER
  kStreamingUnsignedTrailer,  // STREAMING-UNSIGNED-PAYLOAD-TRAILER
  kUnknown,                   // anything else
};

enum class SignatureFault {
  kNone,
  kMissing,               // not signed at all
  kUnsupportedAlgorithm,  // detail: the algorithm named
  kIncomplete,            // detail: a sentence for each part that is missing
  kMalformedCredential,   // detail: the credential
  kMalformedDate,         // detail: the date
  kMalformedExpires,      // detail: the value; not a number, negative, or beyond a week
  kScopeDate,             // the credential's date is not the request's; detail: both
  kScopeRegion,           // detail: the region named
  kScopeService,          // detail: the service named
  kScopeTerminator,       // detail: the terminator named
  kUnsignedHeader,        // detail: the header that had to be signed
  kExpired,               // older than the skew allows, or a presigned request past its time
  kNotYetValid,           // from the future
  kMismatch,              // the signature is not ours; `canonical` and `to_sign` tell what we computed
  kPayloadMissing,        // s3: no x-amz-content-sha256
  kPayloadInvalid,        // detail: the value of x-amz-content-sha256
};

// What a request says of its signature. Believe none of it before verify_signature.
struct SignatureClaim {
  enum class Form { kNone, kHeader, kQuery };
  Form form = Form::kNone;
  SignatureFault fault = SignatureFault::kNone;  // found while reading; the rest is then as far as it was read
  std::string detail;

  std::string access_key_id;
  Scope scope;
  std::string terminator;
  std::string signed_headers;  // as sent
  std::string signature;
  std::string session_token;
  std::string amz_date;
  std::int64_t time_ms = 0;
  std::optional<std::int64_t> expires_s;  // presigned
  PayloadMode payload = PayloadMode::kAbsent;
  std::string payload_hash;  // x-amz-content-sha256 as sent
};

SignatureClaim read_signature(const Request& request);

struct SignatureVerdict {
  SignatureFault fault = SignatureFault::kNone;
  std::string detail;
  std::string canonical;  // with kMismatch
  std::string to_sign;    // with kMismatch
  std::shared_ptr<const HmacKey> key;  // what chunk signatures are checked with

  bool ok() const { return fault == SignatureFault::kNone; }
};

struct VerifyOptions {
  std::string_view region;   // the only one accepted; empty: any
  std::string_view service;  // the only one accepted
  std::int64_t now_ms = 0;
  // The body's SHA-256 in hex, where the body was read before (all services but S3). Empty: believe what
  // x-amz-content-sha256 says, and check it while the body is read (verified_body.h).
  std::string_view body_sha256;
};

// Is the claim true of the request, for the holder of this secret? Checks scope, time, the headers that must be
// signed, and the signature. Not: whether the key exists, or its session token.
SignatureVerdict verify_signature(const Request& request, const SignatureClaim& claim,
                                  std::string_view secret_access_key, SigningKeys& keys, const VerifyOptions& options);

}  // namespace athanor::wire
