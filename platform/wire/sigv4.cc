#include "platform/wire/sigv4.h"

// The low-level SHA-256 is deprecated in OpenSSL 3.0 for applications that might want another provider; it is what
// lets an HMAC key be kept half computed, and it spares each request OpenSSL's look-ups by name.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "common/error.h"
#include "common/hash.h"
#include "platform/wire/header_text.h"

namespace athanor::wire {

namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";
constexpr std::string_view kTerminator = "aws4_request";
constexpr std::size_t kSigningKeysMax = 1024;
// Proxies and HTTP libraries change these on the way; every AWS SDK leaves them unsigned.
constexpr std::string_view kNeverSigned[] = {"authorization",     "connection", "expect",         "user-agent",
                                             "transfer-encoding", "keep-alive", "x-amzn-trace-id"};

std::array<unsigned char, 32> raw_sha256(std::string_view bytes) {
  std::array<unsigned char, 32> digest;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  return digest;
}

void append_hex(std::string& to, const unsigned char* bytes, std::size_t count) {
  static constexpr char kDigits[] = "0123456789abcdef";
  for (std::size_t i = 0; i < count; ++i) {
    to.push_back(kDigits[bytes[i] >> 4]);
    to.push_back(kDigits[bytes[i] & 15]);
  }
}

bool is_hex_64(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

void append_canonical_path(std::string& to, std::string_view path, bool s3) {
  if (path.empty()) path = "/";
  if (s3) {
    // Whatever was escaped needlessly, or not escaped, has one spelling.
    to += percent_encode(percent_decode(path), true);
    return;
  }
  if (path == "/") {
    to += '/';
    return;
  }
  // RFC 3986's dot segments and doubled slashes go; what is left is escaped once more.
  std::vector<std::string_view> segments;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t slash = std::min(path.find('/', at), path.size());
    const std::string_view segment = path.substr(at, slash - at);
    if (segment == "..") {
      if (!segments.empty()) segments.pop_back();
    } else if (!segment.empty() && segment != ".") {
      segments.push_back(segment);
    }
    at = slash + 1;
  }
  for (const std::string_view segment : segments) {
    to += '/';
    to += percent_encode(segment, false);
  }
  if (segments.empty() || path.back() == '/') to += '/';
}

void append_canonical_query(std::string& to, const std::vector<std::pair<std::string, std::string>>& query) {
  if (query.empty()) return;
  std::vector<std::pair<std::string, std::string>> encoded;
  encoded.reserve(query.size());
  for (const auto& [key, value] : query) {
    if (key == "X-Amz-Signature") continue;
    encoded.emplace_back(percent_encode(key, false), percent_encode(value, false));
  }
  std::sort(encoded.begin(), encoded.end());
  bool first = true;
  for (const auto& [key, value] : encoded) {
    if (!first) to += '&';
    first = false;
    to += key;
    to += '=';
    to += value;
  }
}

// Trimmed, with runs of blanks as one.
void append_canonical_value(std::string& to, std::string_view value) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f'; };
  bool pending = false;
  bool any = false;
  for (const char c : value) {
    if (blank(c)) {
      pending = any;
      continue;
    }
    if (pending) to += ' ';
    pending = false;
    any = true;
    to += c;
  }
}

template <typename Visit>
void for_each_piece(std::string_view text, char separator, Visit visit) {
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(separator, at), text.size());
    visit(text.substr(at, end - at));
    at = end + 1;
  }
}

bool is_signed(std::string_view signed_headers, std::string_view name) {
  bool found = false;
  for_each_piece(signed_headers, ';', [&](std::string_view piece) { found = found || piece == name; });
  return found;
}

std::string scope_text(const Scope& scope) {
  return scope.date + "/" + scope.region + "/" + scope.service + "/" + std::string(kTerminator);
}

// Days since 1970-01-01 of a proleptic Gregorian date, and back (Howard Hinnant's algorithms).
std::int64_t days_from_civil(std::int64_t year, unsigned month, unsigned day) {
  year -= month <= 2;
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const auto year_of_era = static_cast<unsigned>(year - era * 400);
  const unsigned day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  const unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146097 + static_cast<std::int64_t>(day_of_era) - 719468;
}

struct Civil {
  std::int64_t year;
  unsigned month, day;
};

Civil civil_from_days(std::int64_t days) {
  days += 719468;
  const std::int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  const auto day_of_era = static_cast<unsigned>(days - era * 146097);
  const unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const unsigned shifted = (5 * day_of_year + 2) / 153;
  const unsigned month = shifted < 10 ? shifted + 3 : shifted - 9;
  return {static_cast<std::int64_t>(year_of_era) + era * 400 + (month <= 2), month,
          day_of_year - (153 * shifted + 2) / 5 + 1};
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
  if (algorithm != kAlgorithm) {
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
  if (algorithm != kAlgorithm) {
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

// ---------------------------------------------------------------- dates

std::string format_amz_date(std::int64_t wall_ms) {
  std::int64_t seconds = wall_ms / 1000;
  const std::int64_t days = (seconds >= 0 ? seconds : seconds - 86399) / 86400;
  seconds -= days * 86400;
  const Civil civil = civil_from_days(days);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", civil.year, civil.month, civil.day, seconds / 3600,
                     seconds / 60 % 60, seconds % 60);
}

std::optional<std::int64_t> parse_amz_date(std::string_view text) {
  if (text.size() != 16 || text[8] != 'T' || text[15] != 'Z') return std::nullopt;
  const auto number = [&](std::size_t at, std::size_t count) {
    int value = 0;
    for (std::size_t i = at; i < at + count; ++i) {
      if (text[i] < '0' || text[i] > '9') return -1;
      value = value * 10 + (text[i] - '0');
    }
    return value;
  };
  const int year = number(0, 4), month = number(4, 2), day = number(6, 2);
  const int hour = number(9, 2), minute = number(11, 2), second = number(13, 2);
  if (year < 1970 || month < 1 || month > 12 || day < 1 || day > 31) return std::nullopt;
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) return std::nullopt;
  const std::int64_t days = days_from_civil(year, static_cast<unsigned>(month), static_cast<unsigned>(day));
  const Civil back = civil_from_days(days);
  if (back.month != static_cast<unsigned>(month)) return std::nullopt;  // 31 April
  return (days * 86400 + hour * 3600 + minute * 60 + second) * 1000;
}

// ---------------------------------------------------------------- keys

HmacKey::HmacKey(std::string_view key) {
  std::array<unsigned char, SHA256_CBLOCK> block{};
  if (key.size() > block.size()) {
    const auto digest = raw_sha256(key);
    std::memcpy(block.data(), digest.data(), digest.size());
  } else {
    std::memcpy(block.data(), key.data(), key.size());
  }
  const auto state_after = [&block](unsigned char pad) {
    std::array<unsigned char, SHA256_CBLOCK> padded;
    for (std::size_t i = 0; i < block.size(); ++i) padded[i] = block[i] ^ pad;
    SHA256_CTX context;
    SHA256_Init(&context);
    SHA256_Update(&context, padded.data(), padded.size());
    std::array<std::uint32_t, 8> state;
    std::copy(std::begin(context.h), std::end(context.h), state.begin());
    return state;
  };
  inner_ = state_after(0x36);
  outer_ = state_after(0x5c);
}

namespace {

std::array<unsigned char, 32> finish_from(const std::array<std::uint32_t, 8>& state, const void* bytes,
                                          std::size_t count) {
  SHA256_CTX context;
  SHA256_Init(&context);
  std::copy(state.begin(), state.end(), std::begin(context.h));
  context.Nl = SHA256_CBLOCK * 8;  // bits hashed so far: the padded key
  SHA256_Update(&context, bytes, count);
  std::array<unsigned char, 32> digest;
  SHA256_Final(digest.data(), &context);
  return digest;
}

}  // namespace

std::string HmacKey::sign(std::string_view message) const {
  const auto inner = finish_from(inner_, message.data(), message.size());
  const auto outer = finish_from(outer_, inner.data(), inner.size());
  return std::string(outer.begin(), outer.end());
}

std::string HmacKey::sign_hex(std::string_view message) const { return to_hex(sign(message)); }

HmacKey derive_signing_key(std::string_view secret_access_key, const Scope& scope) {
  const std::string date = HmacKey("AWS4" + std::string(secret_access_key)).sign(scope.date);
  const std::string region = HmacKey(date).sign(scope.region);
  const std::string service = HmacKey(region).sign(scope.service);
  return HmacKey(HmacKey(service).sign(kTerminator));
}

std::shared_ptr<const HmacKey> SigningKeys::get(std::string_view access_key_id, std::string_view secret_access_key,
                                                const Scope& scope) {
  std::string name;
  name.reserve(access_key_id.size() + scope.date.size() + scope.region.size() + scope.service.size() + 3);
  name.append(access_key_id).append("/").append(scope.date).append("/");
  name.append(scope.region).append("/").append(scope.service);
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(name);
    if (found != entries_.end() && found->second.secret_access_key == secret_access_key) return found->second.key;
  }
  auto key = std::make_shared<const HmacKey>(derive_signing_key(secret_access_key, scope));
  const std::lock_guard lock(mutex_);
  // Scopes change once a day; when something fills the table all the same, it starts afresh.
  if (entries_.size() >= kSigningKeysMax) entries_.clear();
  entries_[std::move(name)] = {std::string(secret_access_key), key};
  return key;
}

// ---------------------------------------------------------------- canonical form

std::string canonical_request(std::string_view method, std::string_view path,
                              const std::vector<std::pair<std::string, std::string>>& query, const Headers& headers,
                              std::string_view signed_headers, std::string_view payload_hash,
                              std::string_view service) {
  std::string text;
  text.reserve(1024);
  text.append(method).append("\n");
  append_canonical_path(text, path, service == "s3");
  text += '\n';
  append_canonical_query(text, query);
  text += '\n';
  for_each_piece(signed_headers, ';', [&](std::string_view name) {
    text.append(name).append(":");
    bool first = true;
    for (const auto& [field, value] : headers) {
      if (!equal_without_case(field, name)) continue;
      if (!first) text += ',';
      first = false;
      append_canonical_value(text, value);
    }
    text += '\n';
  });
  text += '\n';
  text.append(signed_headers).append("\n").append(payload_hash);
  return text;
}

std::string string_to_sign(std::string_view amz_date, const Scope& scope, std::string_view canonical) {
  std::string text;
  text.reserve(192);
  text.append(kAlgorithm).append("\n").append(amz_date).append("\n").append(scope_text(scope)).append("\n");
  const auto digest = raw_sha256(canonical);
  append_hex(text, digest.data(), digest.size());
  return text;
}

// ---------------------------------------------------------------- signing

namespace {

std::string all_signed_headers(const Headers& headers) {
  std::vector<std::string> names;
  for (const auto& [name, value] : headers) {
    std::string low = lower_case(name);
    if (std::find(std::begin(kNeverSigned), std::end(kNeverSigned), low) == std::end(kNeverSigned)) {
      names.push_back(std::move(low));
    }
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::string joined;
  for (const std::string& name : names) {
    if (!joined.empty()) joined += ';';
    joined += name;
  }
  return joined;
}

}  // namespace

Signature sign_request(std::string_view method, const std::string& target, Headers& headers,
                       const Credentials& credentials, std::string_view region, std::string_view service,
                       std::int64_t now_ms, std::string_view payload_hash) {
  ATHANOR_ASSERT(headers.has("host"));
  Signature result;
  result.amz_date = format_amz_date(now_ms);
  result.scope = {result.amz_date.substr(0, 8), std::string(region), std::string(service)};
  headers.set("X-Amz-Date", result.amz_date);
  if (!credentials.session_token.empty()) headers.set("X-Amz-Security-Token", credentials.session_token);
  if (service == "s3") headers.set("X-Amz-Content-Sha256", std::string(payload_hash));

  const std::string signed_headers = all_signed_headers(headers);
  const std::size_t question = target.find('?');
  const auto query = question == std::string::npos ? std::vector<std::pair<std::string, std::string>>()
                                                   : parse_query(std::string_view(target).substr(question + 1));
  const std::string canonical = canonical_request(method, std::string_view(target).substr(0, question), query, headers,
                                                  signed_headers, payload_hash, service);
  result.signature = derive_signing_key(credentials.secret_access_key, result.scope)
                         .sign_hex(string_to_sign(result.amz_date, result.scope, canonical));
  headers.set("Authorization",
              fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}", kAlgorithm, credentials.access_key_id,
                          scope_text(result.scope), signed_headers, result.signature));
  return result;
}

// ---------------------------------------------------------------- verifying

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

SignatureVerdict verdict(SignatureFault fault, std::string detail) { return {fault, std::move(detail), "", "", nullptr}; }

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
  const bool s3 = options.service == "s3";
  if (claim.terminator != kTerminator) return verdict(SignatureFault::kScopeTerminator, claim.terminator);
  if (claim.scope.service != options.service) return verdict(SignatureFault::kScopeService, claim.scope.service);
  if (!options.region.empty() && claim.scope.region != options.region) {
    return verdict(SignatureFault::kScopeRegion, claim.scope.region);
  }
  if (claim.scope.date != std::string_view(claim.amz_date).substr(0, 8)) {
    return verdict(SignatureFault::kScopeDate,
                   fmt::format("'{}' != '{}', from '{}'", claim.scope.date, claim.amz_date.substr(0, 8), claim.amz_date));
  }
  if (auto late = judge_time(claim, options.now_ms)) return *std::move(late);
  if (auto name = unsigned_header(request, claim, s3)) return verdict(SignatureFault::kUnsignedHeader, *std::move(name));

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
