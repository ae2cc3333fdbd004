// AWS Signature Version 4, the server's end: what a request claims of its signature, and whether that is true. The presigned
// URLs of version 2 (sigv2.h) are claims of the same kind.
//
// Free of any service's wording: a verdict is an enum with details, and the fronts turn it into their errors.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "platform/wire/http.h"
#include "platform/wire/signing_key.h"

namespace athanor::wire {

inline constexpr std::int64_t kSkewMax_ms = 15 * 60 * 1000;
inline constexpr std::int64_t kPresignedMax_s = 7 * 24 * 3600;

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
  enum class Form { kNone, kHeader, kQuery, kQueryV2 };  // the last: sigv2.h
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
  std::int64_t time_ms = 0;               // when it was signed; of kQueryV2: when it ends
  std::optional<std::int64_t> expires_s;  // kQuery: how long it holds
  PayloadMode payload = PayloadMode::kAbsent;
  std::string payload_hash;  // x-amz-content-sha256 as sent
};

SignatureClaim read_signature(const Request& request);

struct SignatureVerdict {
  SignatureFault fault = SignatureFault::kNone;
  std::string detail;
  std::string canonical;               // with kMismatch
  std::string to_sign;                 // with kMismatch
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
  std::string_view host_bucket = {};  // the bucket that the Host names, where it names one; version 2 signs it
};

// Is the claim true of the request, for the holder of this secret? Checks scope, time, the headers that must be
// signed, and the signature. Not: whether the key exists, or its session token.
SignatureVerdict verify_signature(const Request& request, const SignatureClaim& claim,
                                  std::string_view secret_access_key, SigningKeys& keys, const VerifyOptions& options);

}  // namespace athanor::wire
