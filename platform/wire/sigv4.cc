#include "platform/wire/sigv4.h"

#include <fmt/format.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>

#include "common/error.h"
#include "platform/wire/amz_date.h"
#include "platform/wire/header_text.h"

namespace athanor::wire {

namespace {

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

std::string scope_text(const Scope& scope) {
  return scope.date + "/" + scope.region + "/" + scope.service + "/" + std::string(kSigningTerminator);
}

}  // namespace

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
  text.append(kSigningAlgorithm).append("\n").append(amz_date).append("\n").append(scope_text(scope)).append("\n");
  const auto digest = raw_sha256(canonical);
  append_hex(text, digest.data(), digest.size());
  return text;
}

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
              fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}", kSigningAlgorithm,
                          credentials.access_key_id, scope_text(result.scope), signed_headers, result.signature));
  return result;
}

}  // namespace athanor::wire
