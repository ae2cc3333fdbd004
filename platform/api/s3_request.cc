#include "platform/api/s3_request.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <set>

#include "common/error.h"
#include "common/hash.h"
#include "common/utf8.h"
#include "platform/api/s3_error.h"
#include "platform/wire/header_text.h"

namespace athanor::api {

namespace {

constexpr std::size_t kKeyBytesMax = 1024;
constexpr std::size_t kMetadataBytesMax = 2048;
constexpr std::string_view kTokenMark = "k1:";

// Whether ".." segments lead above the bucket at any point.
bool climbs_out(std::string_view key) {
  int depth = 0;
  for (std::size_t at = 0; at <= key.size();) {
    const std::size_t slash = std::min(key.find('/', at), key.size());
    const std::string_view segment = key.substr(at, slash - at);
    if (segment == "..") {
      if (--depth < 0) return true;
    } else if (!segment.empty() && segment != ".") {
      ++depth;
    }
    at = slash + 1;
  }
  return false;
}

S3Error invalid_uri() { return {400, "InvalidURI", "Couldn't parse the specified URI."}; }

template <typename T>
bool parse_number(std::string_view text, T& value) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return !text.empty() && failure == std::errc() && end == text.data() + text.size();
}

std::tm calendar(std::int64_t wall_ms) {
  const std::time_t seconds = wall_ms / 1000;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return parts;
}

constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

bool etag_listed(const std::string& header, const std::string& etag) {
  if (header == "*") return true;
  std::string_view rest = header;
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    std::string_view one = rest.substr(0, comma);
    while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
    while (!one.empty() && one.back() == ' ') one.remove_suffix(1);
    if (one.starts_with("W/")) one.remove_prefix(2);
    if (without_quotes(one) == etag) return true;
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return false;
}

}  // namespace

std::string without_quotes(std::string_view etag) {
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') etag = etag.substr(1, etag.size() - 2);
  return std::string(etag);
}

std::uint32_t read_part_number(const wire::Request& request) {
  const std::string* text = request.find_query("partNumber");
  std::uint32_t number = 0;
  if (text == nullptr || !parse_number(*text, number) || number == 0 || number > storage::kPartNumberMax) {
    throw invalid_argument("partNumber", text == nullptr ? "" : *text,
                           "Part number must be an integer between 1 and 10000, inclusive");
  }
  return number;
}

std::string bucket_of_host(std::string_view host) {
  std::string name = wire::lower_case(host.substr(0, host.find(':')));
  constexpr std::string_view kDomain = ".amazonaws.com";
  if (!name.ends_with(kDomain)) return {};
  name.resize(name.size() - kDomain.size());
  // "s3", "s3.REGION", "s3-REGION", "s3.dualstack.REGION", each perhaps after "BUCKET.".
  std::size_t found = std::string::npos;
  for (std::size_t at = name.find("s3"); at != std::string::npos; at = name.find("s3", at + 1)) {
    const bool begins = at == 0 || name[at - 1] == '.';
    const char next = at + 2 < name.size() ? name[at + 2] : '.';
    if (begins && (next == '.' || next == '-')) found = at;
  }
  return found == std::string::npos || found == 0 ? std::string() : name.substr(0, found - 1);
}

S3Address read_address(std::string_view encoded_path, std::string_view host) {
  if (encoded_path.empty() || encoded_path.front() != '/') throw invalid_uri();
  std::string path;
  try {
    path = wire::percent_decode(encoded_path.substr(1));
  } catch (const Error&) {
    throw invalid_uri();
  }
  S3Address address;
  address.bucket = bucket_of_host(host);
  if (!address.bucket.empty()) {
    address.key = std::move(path);
  } else {
    const std::size_t slash = std::min(path.find('/'), path.size());
    address.bucket = path.substr(0, slash);
    if (slash < path.size()) address.key = path.substr(slash + 1);
  }
  if (address.bucket.empty() && !address.key.empty()) throw invalid_uri();
  if (!is_utf8(address.bucket) || !is_utf8(address.key) || climbs_out(address.key)) throw invalid_uri();
  if (address.key.size() > kKeyBytesMax) {
    throw S3Error(400, "KeyTooLongError", "Your key is too long",
                  {{"Size", std::to_string(address.key.size())}, {"MaxSizeAllowed", std::to_string(kKeyBytesMax)}});
  }
  return address;
}

bool is_bucket_name(std::string_view name) {
  if (name.size() < 3 || name.size() > 63) return false;
  bool only_digits = true;
  char before = '.';
  for (const char c : name) {
    const bool letter = c >= 'a' && c <= 'z';
    const bool digit = c >= '0' && c <= '9';
    if (!letter && !digit && c != '.' && c != '-') return false;
    if (c == '.' && (before == '.' || before == '-')) return false;
    if (c == '-' && before == '.') return false;
    if (!digit && c != '.') only_digits = false;
    before = c;
  }
  if (before == '.' || before == '-') return false;
  return !(only_digits && std::count(name.begin(), name.end(), '.') == 3);
}

std::string http_date(std::int64_t wall_ms) {
  const std::tm t = calendar(wall_ms);
  return fmt::format("{}, {:02} {} {} {:02}:{:02}:{:02} GMT", kDays[t.tm_wday], t.tm_mday, kMonths[t.tm_mon],
                     t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

std::optional<std::int64_t> parse_http_date(std::string_view text) {
  // "Tue, 24 Nov 2026 01:59:26 GMT"
  if (text.size() != 29 || text.substr(3, 2) != ", " || text.substr(25) != " GMT") return std::nullopt;
  std::tm t{};
  const auto month = std::find(std::begin(kMonths), std::end(kMonths), text.substr(8, 3));
  if (month == std::end(kMonths)) return std::nullopt;
  t.tm_mon = static_cast<int>(month - std::begin(kMonths));
  if (!parse_number(text.substr(5, 2), t.tm_mday) || !parse_number(text.substr(12, 4), t.tm_year) ||
      !parse_number(text.substr(17, 2), t.tm_hour) || !parse_number(text.substr(20, 2), t.tm_min) ||
      !parse_number(text.substr(23, 2), t.tm_sec)) {
    return std::nullopt;
  }
  t.tm_year -= 1900;
  return static_cast<std::int64_t>(::timegm(&t)) * 1000;
}

std::string xml_date(std::int64_t wall_ms) {
  const std::tm t = calendar(wall_ms);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour,
                     t.tm_min, t.tm_sec, wall_ms % 1000);
}

std::optional<ByteRange> read_range(std::string_view header, std::uint64_t size) {
  if (!header.starts_with("bytes=")) return std::nullopt;
  header.remove_prefix(6);
  const std::size_t dash = header.find('-');
  if (dash == std::string_view::npos || header.find(',') != std::string_view::npos) return std::nullopt;
  const std::string_view first = header.substr(0, dash);
  const std::string_view last = header.substr(dash + 1);
  const auto beyond = [&] {
    return S3Error(416, "InvalidRange", "The requested range is not satisfiable",
                   {{"RangeRequested", "bytes=" + std::string(header)}, {"ActualObjectSize", std::to_string(size)}});
  };
  std::uint64_t from = 0;
  std::uint64_t to = 0;
  if (first.empty()) {
    if (!parse_number(last, to)) return std::nullopt;
    if (to == 0 || size == 0) throw beyond();
    const std::uint64_t length = std::min(to, size);
    return ByteRange{size - length, length};
  }
  if (!parse_number(first, from)) return std::nullopt;
  if (!last.empty() && !parse_number(last, to)) return std::nullopt;
  if (!last.empty() && to < from) return std::nullopt;
  if (from >= size) throw beyond();
  to = last.empty() ? size - 1 : std::min(to, size - 1);
  return ByteRange{from, to - from + 1};
}

ByteRange read_copy_range(std::string_view header, std::uint64_t size) {
  const auto refuse = [&] {
    return invalid_argument(
        "x-amz-copy-source-range", std::string(header),
        "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last "
        "are the zero-based offsets of the first and last bytes to copy");
  };
  std::uint64_t from = 0;
  std::uint64_t to = 0;
  const std::size_t dash = header.find('-');
  if (!header.starts_with("bytes=") || dash == std::string_view::npos ||
      !parse_number(header.substr(6, dash - 6), from) || !parse_number(header.substr(dash + 1), to) || to < from) {
    throw refuse();
  }
  if (to >= size) {
    throw invalid_argument("x-amz-copy-source-range", std::string(header),
                           fmt::format("Range specified is not valid for source object of size: {}", size));
  }
  return {from, to - from + 1};
}

void check_read_conditions(const wire::Headers& headers, const std::string& prefix, const storage::ObjectInfo& object,
                           bool reading) {
  const auto failed = [](const char* condition) {
    return S3Error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold",
                   {{"Condition", condition}});
  };
  const auto date = [&](const char* name) -> std::optional<std::int64_t> {
    const std::string* text = headers.find(prefix + name);
    return text != nullptr ? parse_http_date(*text) : std::nullopt;
  };
  const std::int64_t modified_s = object.modified_ms / 1000;
  // RFC 9110, section 13.2.2: an ETag's word goes before a date's.
  if (const std::string* match = headers.find(prefix + "if-match")) {
    if (!etag_listed(*match, object.etag)) throw failed("If-Match");
  } else if (const auto since = date("if-unmodified-since"); since && modified_s > *since / 1000) {
    throw failed("If-Unmodified-Since");
  }
  const char* unchanged = nullptr;
  if (const std::string* none = headers.find(prefix + "if-none-match")) {
    if (etag_listed(*none, object.etag)) unchanged = "If-None-Match";
  } else if (const auto since = date("if-modified-since"); since && modified_s <= *since / 1000) {
    unchanged = "If-Modified-Since";
  }
  if (unchanged == nullptr) return;
  if (!reading) throw failed(unchanged);
  throw S3Error(304, "NotModified", "Not Modified");
}

storage::Conditions read_write_conditions(const wire::Headers& headers) {
  storage::Conditions conditions;
  if (const std::string* match = headers.find("if-match")) conditions.if_match = without_quotes(*match);
  if (const std::string* none = headers.find("if-none-match")) {
    if (*none != "*") throw not_implemented("If-None-Match of a write with anything but *");
    conditions.if_absent = true;
  }
  return conditions;
}

S3Address read_copy_source(std::string_view header) {
  const auto refuse = [&](const char* what) {
    return invalid_argument("x-amz-copy-source", std::string(header), what);
  };
  constexpr const char* kForm = "Copy Source must mention the source bucket and key: sourcebucket/sourcekey";
  std::string_view path = header;
  const std::size_t question = path.find("?versionId=");
  if (question != std::string_view::npos) {
    if (path.substr(question + 11) != "null") throw refuse("Invalid version id specified");
    path = path.substr(0, question);
  }
  if (path.starts_with('/')) path.remove_prefix(1);
  std::string decoded;
  try {
    decoded = wire::percent_decode(path);
  } catch (const Error&) {
    throw refuse(kForm);
  }
  const std::size_t slash = decoded.find('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == decoded.size() || !is_utf8(decoded)) throw refuse(kForm);
  return {decoded.substr(0, slash), decoded.substr(slash + 1)};
}

std::string make_list_token(std::string_view key) { return to_base64(std::string(kTokenMark) + std::string(key)); }

std::string read_list_token(std::string_view token) {
  const auto refuse = [&] {
    return invalid_argument("continuation-token", std::string(token), "The continuation token provided is incorrect");
  };
  std::string text;
  try {
    text = from_base64(token);
  } catch (const Error&) {
    throw refuse();
  }
  if (!text.starts_with(kTokenMark)) throw refuse();
  return text.substr(kTokenMark.size());
}

std::size_t read_count(const wire::Request& request, const char* name, std::size_t most) {
  const std::string* text = request.find_query(name);
  if (text == nullptr || text->empty()) return most;
  std::uint32_t count = 0;
  if (!parse_number(*text, count) || count > INT32_MAX) {
    throw invalid_argument(name, *text, fmt::format("Provided {} not an integer or within integer range", name));
  }
  return std::min<std::size_t>(count, most);
}

storage::ObjectHeaders read_object_headers(const wire::Headers& headers) {
  static constexpr const char* kKept[] = {"content-type",     "cache-control",    "content-disposition",
                                          "content-encoding", "content-language", "expires"};
  storage::ObjectHeaders kept;
  std::size_t metadata_bytes = 0;
  for (const auto& [name, value] : headers) {
    const std::string lower = wire::lower_case(name);
    if (lower.starts_with("x-amz-server-side-encryption-customer") ||
        lower.starts_with("x-amz-copy-source-server-side-encryption-customer")) {
      throw not_implemented("encryption with keys of the customer (SSE-C)");
    }
    if (lower.starts_with("x-amz-object-lock")) throw not_implemented("object locks");
    // As in buckets of AWS made since 2023: the owner of the bucket owns every object, and no list says otherwise.
    if (lower.starts_with("x-amz-grant-") || (lower == "x-amz-acl" && value != "bucket-owner-full-control")) {
      throw S3Error(400, "AccessControlListNotSupported", "The bucket does not allow ACLs");
    }
    if (lower.starts_with("x-amz-meta-")) {
      metadata_bytes += lower.size() - 11 + value.size();
      kept.emplace_back(lower, value);
    } else if (lower == "content-encoding") {
      // "aws-chunked" is how it travels, not what it is.
      std::string codings;
      std::string_view rest = value;
      while (!rest.empty()) {
        const std::size_t comma = std::min(rest.find(','), rest.size());
        std::string_view one = rest.substr(0, comma);
        while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
        while (!one.empty() && one.back() == ' ') one.remove_suffix(1);
        if (!one.empty() && one != "aws-chunked") codings.append(codings.empty() ? "" : ",").append(one);
        rest.remove_prefix(std::min(comma + 1, rest.size()));
      }
      if (!codings.empty()) kept.emplace_back("Content-Encoding", codings);
    } else if (std::find(std::begin(kKept), std::end(kKept), lower) != std::end(kKept) ||
               lower.starts_with("x-amz-server-side-encryption") || lower == "x-amz-website-redirect-location" ||
               (lower == "x-amz-storage-class" && value != "STANDARD")) {
      kept.emplace_back(name, value);
    }
  }
  if (metadata_bytes > kMetadataBytesMax) {
    throw S3Error(400, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size",
                  {{"Size", std::to_string(metadata_bytes)}, {"MaxSizeAllowed", std::to_string(kMetadataBytesMax)}});
  }
  return kept;
}

std::string read_tagging_header(const wire::Headers& headers) {
  const std::string* text = headers.find("x-amz-tagging");
  if (text == nullptr) return {};
  const auto refuse = [&] {
    return invalid_argument("x-amz-tagging", *text,
                            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters "
                            "without tag name duplicates.");
  };
  std::set<std::string> keys;
  std::string tags;
  try {
    std::string spaces = *text;
    std::replace(spaces.begin(), spaces.end(), '+', ' ');
    for (const auto& [key, value] : wire::parse_query(spaces)) {
      if (key.empty() || !keys.insert(key).second || !is_utf8(key) || !is_utf8(value)) throw refuse();
      if (!tags.empty()) tags += "&";
      tags += wire::percent_encode(key, false) + "=" + wire::percent_encode(value, false);
    }
  } catch (const Error&) {
    throw refuse();
  }
  if (keys.size() > 10) throw S3Error(400, "BadRequest", "Object tags cannot be greater than 10");
  return tags;
}

std::string read_checksum_value(storage::ChecksumAlgorithm algorithm, const std::string& text) {
  const auto refuse = [&] {
    return invalid_request(fmt::format("Value for {} header is invalid.", storage::checksum_header(algorithm)));
  };
  std::string value;
  try {
    value = from_base64(text);
  } catch (const Error&) {
    throw refuse();
  }
  if (value.size() != storage::checksum_bytes(algorithm)) throw refuse();
  return value;
}

AnnouncedChecksum read_checksum(const wire::Headers& headers) {
  AnnouncedChecksum announced;
  std::size_t count = 0;
  for (const storage::ChecksumAlgorithm algorithm : storage::kChecksumAlgorithms) {
    const std::string* text = headers.find(storage::checksum_header(algorithm));
    if (text == nullptr) continue;
    ++count;
    announced.algorithm = algorithm;
    announced.value = read_checksum_value(algorithm, *text);
  }
  if (const std::string* trailer = headers.find("x-amz-trailer")) {
    const std::string name = wire::lower_case(*trailer);
    for (const storage::ChecksumAlgorithm algorithm : storage::kChecksumAlgorithms) {
      if (name != storage::checksum_header(algorithm)) continue;
      ++count;
      announced.algorithm = algorithm;
      announced.in_trailer = true;
    }
    if (!announced.in_trailer) {
      throw invalid_request("The value specified in the x-amz-trailer header is not supported");
    }
  }
  if (count > 1) {
    throw invalid_request("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.");
  }
  for (const char* unknown : {"x-amz-checksum-xxhash64", "x-amz-checksum-xxhash3", "x-amz-checksum-xxhash128"}) {
    if (headers.has(unknown)) throw not_implemented(unknown);
  }
  if (const std::string* name = headers.find("x-amz-sdk-checksum-algorithm")) {
    if (!storage::find_checksum_algorithm(*name)) {
      throw invalid_request(
          "Checksum algorithm provided is unsupported. Please try again with any of the valid types: "
          "[CRC32, CRC32C, CRC64NVME, SHA1, SHA256, SHA512, MD5]");
    }
    if (!announced.algorithm && !headers.has("content-md5")) {
      throw invalid_request(
          "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or "
          "x-amz-trailer headers were found.");
    }
  }
  return announced;
}

}  // namespace athanor::api
