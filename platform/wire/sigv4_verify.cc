#include "platform/wire/sigv4_verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "common/hash.h"
#include "platform/wire/amz_date.h"
#include "platform/wire/header_text.h"
#include "platform/wire/sigv2.h"
#include "platform/wire/sigv4.h"

namespace athanor::wire {

namespace {

bool is_hex_64(std::string_view text) {
  return text.size() == 64 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_signed(std::string_view signed_headers, std::string_view name) {
  bool found = false;
  for_each_piece(signed_headers, ';', [&](std::string_view piece) { found = found || piece == name; });
  return found;
}

PayloadMode payload_mode(const std::string* hash) {
  if (hash == nullptr) return PayloadMode::kAbsent;
  if (*hash == kUnsignedPayload) return PayloadMode::kUnsigned;
  if (*hash == "STREAMING-AWS4-HMAC-SHA256-PAYLOAD") return PayloadMode::kStreamingSigned;
  if (*hash == "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER") return PayloadMode::kStreamingSignedTrailer;
  if (*hash == "STREAMING-UNSIGNED-PAYLOAD-TRAILER") return PayloadMode::kStreamingUnsignedTrailer;
  return is_hex_64(*hash) ? PayloadMode::kSha256 : PayloadMode::kUnknown;
}

bool read_credential(std::string_view text, SignatureClaim& claim) {
  std::vector<std::string_view> parts;
  for_each_piece(text, '/', [&](std::string_view piece) { parts.push_back(piece); });
  // A key id may itself hold slashes (it never does at AWS), so the scope is counted from the end.
  if (parts.size() != 5 || parts[0].empty()) return false;
  claim.access_key_id = parts[0];
  claim.scope = {std::string(parts[1]), std::string(parts[2]), std::string(parts[3])};
  claim.terminator = parts[4];
  return true;
}

void fail(SignatureClaim& claim, SignatureFault fault, std::string detail) {
  claim.fault = fault;
  claim.detail = std::move(detail);
}

// X-Amz-Date, or Date in the same form; an HTTP date is not accepted (no SDK has sent one since 2013).
void read_date(SignatureClaim& claim, std::string_view date) {
  claim.amz_date = date;
  const auto time_ms = parse_amz_date(date);
  if (!time_ms) return fail(claim, SignatureFault::kMalformedDate, std::string(date.substr(0, 64)));
  claim.time_ms = *time_ms;
}

void read_header_claim(const Request& request, std::string_view authorization, SignatureClaim& claim) {
  claim.form = SignatureClaim::Form::kHeader;
  const std::size_t space = std::min(authorization.find(' '), authorization.size());
  const std::string_view algorithm = authorization.substr(0, space);
  if (algorithm != kSigningAlgorithm) {
    return fail(claim, SignatureFault::kUnsupportedAlgorithm, std::string(algorithm.substr(0, 64)));
  }
  std::string_view credential, signed_headers, signature;
  bool has_credential = false, has_signed_headers = false, has_signature = false;
  for_each_piece(authorization.substr(space), ',', [&](std::string_view piece) {
    piece = trimmed(piece);
    const std::size_t equals = piece.find('=');
    if (equals == std::string_view::npos) return;
    const std::string_view name = piece.substr(0, equals);
    const std::string_view value = piece.substr(equals + 1);
    if (name == "Credential") credential = value, has_credential = true;
    if (name == "SignedHeaders") signed_headers = value, has_signed_headers = true;
    if (name == "Signature") signature = value, has_signature = true;
  });
  const std::string* date = request.headers.find("x-amz-date");
  if (date == nullptr) date = request.headers.find("date");

  std::string missing;
  if (!has_credential) missing += "Authorization header requires 'Credential' parameter. ";
  if (!has_signature) missing += "Authorization header requires 'Signature' parameter. ";
  if (!has_signed_headers) missing += "Authorization header requires 'SignedHeaders' parameter. ";
  if (date == nullptr) {
    missing += "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ";
  }
  if (has_credential && !read_credential(credential, claim)) {
    return fail(claim, SignatureFault::kMalformedCredential, std::string(credential.substr(0, 200)));
  }
  if (!missing.empty()) return fail(claim, SignatureFault::kIncomplete, missing);
  claim.signed_headers = signed_headers;
  claim.signature = signature;
  claim.session_token = request.headers.get_or("x-amz-security-token", "");
  read_date(claim, *date);
}

void read_query_claim(const Request& request, std::string_view algorithm, SignatureClaim& claim) {
  claim.form = SignatureClaim::Form::kQuery;
  if (algorithm != kSigningAlgorithm) {
    return fail(claim, SignatureFault::kUnsupportedAlgorithm, std::string(algorithm.substr(0, 64)));
  }
  std::string missing;
  const auto get = [&](const char* name) -> std::string_view {
    const std::string* found = request.find_query(name);
    if (found != nullptr) return *found;
    missing += std::string("AWS query-string parameters must include '") + name + "'. ";
    return {};
  };
  const std::string_view credential = get("X-Amz-Credential");
  const std::string_view date = get("X-Amz-Date");
  const std::string_view expires = get("X-Amz-Expires");
  const std::string_view signed_headers = get("X-Amz-SignedHeaders");
  const std::string_view signature = get("X-Amz-Signature");
  if (!missing.empty()) return fail(claim, SignatureFault::kIncomplete, missing);
  if (!read_credential(credential, claim)) {
    return fail(claim, SignatureFault::kMalformedCredential, std::string(credential.substr(0, 200)));
  }
  claim.signed_headers = signed_headers;
  claim.signature = signature;
  const std::string* token = request.find_query("X-Amz-Security-Token");
  if (token != nullptr) claim.session_token = *token;
  std::int64_t expires_s = 0;
  const auto [end, error] = std::from_chars(expires.data(), expires.data() + expires.size(), expires_s);
  if (error != std::errc() || end != expires.data() + expires.size() || expires_s < 0 || expires_s > kPresignedMax_s) {
    return fail(claim, SignatureFault::kMalformedExpires, std::string(expires.substr(0, 64)));
  }
  claim.expires_s = expires_s;
  // A presigned request promises nothing of its body unless it says so in what is signed.
  if (const std::string* hash = request.find_query("X-Amz-Content-Sha256")) {
    claim.payload = payload_mode(hash);
    claim.payload_hash = *hash;
  } else if (!is_signed(signed_headers, "x-amz-content-sha256")) {
    claim.payload = PayloadMode::kAbsent;
    claim.payload_hash.clear();
  }
  read_date(claim, date);
}

}  // namespace

SignatureClaim read_signature(const Request& request) {
  SignatureClaim claim;
  const std::string* hash = request.headers.find("x-amz-content-sha256");
  claim.payload = payload_mode(hash);
  if (hash != nullptr) claim.payload_hash = *hash;
  const std::string* algorithm = request.find_query("X-Amz-Algorithm");
  if (const std::string* authorization = request.headers.find("authorization")) {
    read_header_claim(request, *authorization, claim);
  } else if (algorithm != nullptr) {
    read_query_claim(request, *algorithm, claim);
  } else if (has_v2_query(request)) {
    read_v2_query(request, claim);
  } else {
    fail(claim, SignatureFault::kMissing, "");
  }
  return claim;
}

namespace {

// The headers that must be signed: the host, and whatever would change what the request does.
std::optional<std::string> unsigned_header(const Request& request, const SignatureClaim& claim, bool s3) {
  if (!is_signed(claim.signed_headers, "host")) return "host";
  const bool in_query = claim.form == SignatureClaim::Form::kQuery;
  if (!s3) {
    for (const char* name : {"x-amz-date", "x-amz-target", "x-amz-security-token"}) {
      if (request.headers.has(name) && !is_signed(claim.signed_headers, name)) return name;
    }
    return std::nullopt;
  }
  for (const auto& [name, value] : request.headers) {
    if (!starts_with_without_case(name, "x-amz-")) continue;
    const std::string low = lower_case(name);
    if (in_query && low == "x-amz-content-sha256") continue;
    if (!is_signed(claim.signed_headers, low)) return low;
  }
  return std::nullopt;
}

SignatureVerdict verdict(SignatureFault fault, std::string detail) {
  return {fault, std::move(detail), "", "", nullptr};
}

std::optional<SignatureVerdict> judge_time(const SignatureClaim& claim, std::int64_t now_ms) {
  if (claim.time_ms - now_ms > kSkewMax_ms) return verdict(SignatureFault::kNotYetValid, claim.amz_date);
  const std::int64_t valid_ms = claim.expires_s ? *claim.expires_s * 1000 : kSkewMax_ms;
  if (now_ms - claim.time_ms > valid_ms) return verdict(SignatureFault::kExpired, claim.amz_date);
  return std::nullopt;
}

}  // namespace

SignatureVerdict verify_signature(const Request& request, const SignatureClaim& claim,
                                  std::string_view secret_access_key, SigningKeys& keys, const VerifyOptions& options) {
  if (claim.fault != SignatureFault::kNone) return verdict(claim.fault, claim.detail);
  if (claim.form == SignatureClaim::Form::kQueryV2) return verify_v2_query(request, claim, secret_access_key, options);
  const bool s3 = options.service == "s3";
  if (claim.terminator != kSigningTerminator) return verdict(SignatureFault::kScopeTerminator, claim.terminator);
  if (claim.scope.service != options.service) return verdict(SignatureFault::kScopeService, claim.scope.service);
  if (!options.region.empty() && claim.scope.region != options.region) {
    return verdict(SignatureFault::kScopeRegion, claim.scope.region);
  }
  if (claim.scope.date != std::string_view(claim.amz_date).substr(0, 8)) {
    return verdict(SignatureFault::kScopeDate, fmt::format("'{}' != '{}', from '{}'", claim.scope.date,
                                                           claim.amz_date.substr(0, 8), claim.amz_date));
  }
  if (auto late = judge_time(claim, options.now_ms)) return *std::move(late);
  if (auto name = unsigned_header(request, claim, s3)) {
    return verdict(SignatureFault::kUnsignedHeader, *std::move(name));
  }

  std::string_view payload_hash;
  if (claim.payload == PayloadMode::kAbsent) {
    if (s3 && claim.form == SignatureClaim::Form::kHeader) return verdict(SignatureFault::kPayloadMissing, "");
    payload_hash = s3 ? kUnsignedPayload : options.body_sha256;
  } else {
    if (claim.payload == PayloadMode::kUnknown) return verdict(SignatureFault::kPayloadInvalid, claim.payload_hash);
    payload_hash = claim.payload_hash;
    // Where the body is at hand the header must tell the truth.
    if (!s3 && payload_hash != options.body_sha256) return verdict(SignatureFault::kPayloadInvalid, claim.payload_hash);
  }

  SignatureVerdict result;
  result.key = keys.get(claim.access_key_id, secret_access_key, claim.scope);
  std::string canonical = canonical_request(request.method, request.path, request.query, request.headers,
                                            claim.signed_headers, payload_hash, options.service);
  std::string to_sign = string_to_sign(claim.amz_date, claim.scope, canonical);
  if (!equal_constant_time(result.key->sign_hex(to_sign), claim.signature)) {
    result.fault = SignatureFault::kMismatch;
    result.canonical = std::move(canonical);
    result.to_sign = std::move(to_sign);
    result.key = nullptr;
  }
  return result;
}

}  // namespace athanor::wire
