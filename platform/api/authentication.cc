#include "platform/api/authentication.h"

#include <fmt/format.h>

#include "common/hash.h"
#include "platform/api/s3_request.h"
#include "platform/wire/amz_date.h"

namespace athanor::api {

using wire::SignatureFault;

Authenticator::Authenticator(const AccessKeys& keys, const Clock& clock, std::string region)
    : keys_(keys), clock_(clock), region_(std::move(region)) {}

Authentication Authenticator::check(const wire::Request& request, wire::SignatureClaim claim, std::string_view service,
                                    std::string_view body_sha256) const {
  Authentication result;
  const std::int64_t now_ms = clock_.wall_ms();
  result.checked_ms = now_ms;
  result.claim = std::move(claim);
  if (result.claim.fault != SignatureFault::kNone) {
    result.fault = AuthenticationFault::kSignature;
    result.verdict.fault = result.claim.fault;
    result.verdict.detail = result.claim.detail;
    return result;
  }
  const auto key = keys_.find(result.claim.access_key_id);
  if (!key) {
    result.fault = AuthenticationFault::kUnknownKey;
    return result;
  }
  const bool is_v2 = result.claim.form == wire::SignatureClaim::Form::kQueryV2;
  const std::string host_bucket = is_v2 ? bucket_of_host(request.headers.get_or("Host", "")) : std::string();
  result.verdict = wire::verify_signature(request, result.claim, key->secret_access_key, signing_keys_,
                                          {region_, service, now_ms, body_sha256, host_bucket});
  if (!result.verdict.ok()) {
    result.fault = AuthenticationFault::kSignature;
  } else if (!equal_constant_time(key->session_token, result.claim.session_token)) {
    result.fault = AuthenticationFault::kInvalidToken;
  } else if (key->expires_ms != 0 && key->expires_ms <= now_ms) {
    result.fault = AuthenticationFault::kExpiredToken;
  } else {
    result.principal = key->principal;
  }
  return result;
}

namespace {

constexpr const char* kMismatchText =
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details.";

std::string expired_text(const Authentication& failed, std::int64_t now_ms) {
  const std::string now = wire::format_amz_date(now_ms);
  const std::int64_t valid_ms = failed.claim.expires_s ? *failed.claim.expires_s * 1000 : wire::kSkewMax_ms;
  return fmt::format("Signature expired: {} is now earlier than {} ({} - {}.)", failed.claim.amz_date,
                     wire::format_amz_date(now_ms - valid_ms), now,
                     failed.claim.expires_s ? fmt::format("{} sec", *failed.claim.expires_s) : std::string("15 min"));
}

std::string early_text(const Authentication& failed, std::int64_t now_ms) {
  return fmt::format("Signature not yet current: {} is still later than {} ({} + 15 min.)", failed.claim.amz_date,
                     wire::format_amz_date(now_ms + wire::kSkewMax_ms), wire::format_amz_date(now_ms));
}

}  // namespace

SignatureRefusal refusal_of(const Authentication& failed, const wire::Request& request, bool query_protocol,
                            std::int64_t now_ms, std::string_view region, std::string_view service) {
  const auto with = [query_protocol](const char* json_code, const char* query_code, std::string message) {
    return SignatureRefusal{query_protocol ? query_code : json_code, std::move(message)};
  };
  const auto invalid = [&](std::string message) {
    return with("InvalidSignatureException", "SignatureDoesNotMatch", std::move(message));
  };
  const auto incomplete = [&](std::string message) {
    return with("IncompleteSignatureException", "IncompleteSignature", std::move(message));
  };

  switch (failed.fault) {
    case AuthenticationFault::kNone:
    case AuthenticationFault::kSignature: break;
    case AuthenticationFault::kUnknownKey:
    case AuthenticationFault::kInvalidToken:
      return with("UnrecognizedClientException", "InvalidClientTokenId",
                  "The security token included in the request is invalid.");
    case AuthenticationFault::kExpiredToken:
      return with("ExpiredTokenException", "ExpiredToken", "The security token included in the request is expired");
  }

  const std::string& detail = failed.verdict.detail;
  switch (failed.verdict.fault) {
    case SignatureFault::kMissing:
      return with("MissingAuthenticationTokenException", "MissingAuthenticationToken", "Missing Authentication Token");
    case SignatureFault::kUnsupportedAlgorithm:
      return incomplete(fmt::format("Unsupported AWS 'algorithm': '{}'. ", detail));
    case SignatureFault::kIncomplete:
      // The service repeats the header; what it says of a signature is no secret, but a client's log might keep it.
      return incomplete(detail + (request.headers.has("authorization") ? "Authorization=AWS4-HMAC-SHA256 …" : ""));
    case SignatureFault::kMalformedCredential:
      return incomplete(fmt::format(
          "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{}'",
          detail));
    case SignatureFault::kMalformedDate:
      return incomplete(
          fmt::format("Date must be in ISO-8601 'basic format'. Got '{}'. See "
                      "http://en.wikipedia.org/wiki/ISO_8601.",
                      detail));
    case SignatureFault::kMalformedExpires:
      return incomplete(fmt::format("X-Amz-Expires must be a number of seconds from 0 to {}, not '{}'",
                                    wire::kPresignedMax_s, detail));
    case SignatureFault::kScopeDate:
      return invalid(
          fmt::format("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: {}.",
                      detail));
    case SignatureFault::kScopeRegion:
      return invalid(
          fmt::format("Credential should be scoped to a valid region, not '{}'; this server is '{}'.", detail, region));
    case SignatureFault::kScopeService:
      return invalid(fmt::format("Credential should be scoped to correct service: '{}'.", service));
    case SignatureFault::kScopeTerminator:
      return invalid(
          fmt::format("Credential should be scoped with a valid terminator: 'aws4_request', not '{}'.", detail));
    case SignatureFault::kUnsignedHeader:
      return invalid(fmt::format("'{}' must be a 'SignedHeader' in the AWS Authorization.", detail));
    case SignatureFault::kExpired: return invalid(expired_text(failed, now_ms));
    case SignatureFault::kNotYetValid: return invalid(early_text(failed, now_ms));
    case SignatureFault::kPayloadMissing:
    case SignatureFault::kPayloadInvalid:
      return invalid("The provided 'x-amz-content-sha256' header does not match what was computed.");
    case SignatureFault::kNone:
    case SignatureFault::kMismatch: break;
  }
  return invalid(kMismatchText);
}

}  // namespace athanor::api
