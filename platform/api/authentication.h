// Who sends a request: its SigV4 signature checked against the access keys that we gave out. The verdict is free of any
// service's wording; refusal_of() turns it into that of the JSON and query services, signature_error() in s3_error.h into S3's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/clock.h"
#include "platform/wire/http.h"
#include "platform/wire/sigv4_verify.h"

namespace athanor::api {

// What is known of an access key.
struct AccessKey {
  std::string secret_access_key;
  std::string session_token;    // empty: a long-term key, used without one
  std::string principal;        // the ARN that GetCallerIdentity tells
  std::int64_t expires_ms = 0;  // 0: never
};

// The keys given out; platform/server implements it. Any thread, never waits.
class AccessKeys {
 public:
  virtual ~AccessKeys() = default;
  // Expired ones are found too.
  virtual std::optional<AccessKey> find(std::string_view access_key_id) const = 0;
};

enum class AuthenticationFault {
  kNone,
  kSignature,     // see verdict.fault
  kUnknownKey,    // no such access key
  kInvalidToken,  // the session token is missing, or not this key's
  kExpiredToken,  // the key's time is over
};

struct Authentication {
  AuthenticationFault fault = AuthenticationFault::kNone;
  wire::SignatureClaim claim;
  wire::SignatureVerdict verdict;
  std::string principal;        // when ok()
  std::int64_t checked_ms = 0;  // wall clock, of the check

  bool ok() const { return fault == AuthenticationFault::kNone; }
};

// Immutable but for its cache of signing keys: any thread.
class Authenticator {
 public:
  // Both references outlive this.
  Authenticator(const AccessKeys& keys, const Clock& clock, std::string region);

  // Checks `claim` (wire::read_signature of the request) for `service`. `body_sha256`: see VerifyOptions; empty for S3.
  Authentication check(const wire::Request& request, wire::SignatureClaim claim, std::string_view service,
                       std::string_view body_sha256) const;

  const std::string& region() const { return region_; }
  std::int64_t now_ms() const { return clock_.wall_ms(); }

 private:
  const AccessKeys& keys_;
  const Clock& clock_;
  const std::string region_;
  mutable wire::SigningKeys signing_keys_;
};

// The code and text with which AWS's JSON and query services refuse: {"InvalidSignatureException", "The request …"}.
struct SignatureRefusal {
  std::string code;
  std::string message;
};
// `query_protocol`: STS's codes ("SignatureDoesNotMatch"), else the JSON services' ("InvalidSignatureException").
SignatureRefusal refusal_of(const Authentication& failed, const wire::Request& request, bool query_protocol,
                            std::int64_t now_ms, std::string_view region, std::string_view service);

}  // namespace athanor::api
