// What S3 requests say in paths, headers and queries. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "platform/storage/object_store.h"
#include "platform/wire/http.h"

namespace athanor::api {

// Whom a request is for; both empty: the service.
struct S3Address {
  std::string bucket;
  std::string key;
};

// From path and Host (BUCKET.s3.REGION.amazonaws.com and its relatives, else path style). Throws InvalidURI,
// KeyTooLongError.
S3Address read_address(std::string_view encoded_path, std::string_view host);
// The bucket that a virtual host names, or nothing.
std::string bucket_of_host(std::string_view host);
// 3 to 63 of a-z 0-9 . -, not an address, no empty label.
bool is_bucket_name(std::string_view name);

// "Tue, 24 Nov 2026 01:59:26 GMT" and back; parse: nothing for anything else.
std::string http_date(std::int64_t wall_ms);
std::optional<std::int64_t> parse_http_date(std::string_view text);
// "2026-11-24T01:59:26.000Z"
std::string xml_date(std::int64_t wall_ms);

struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};
// The Range header for a body of `size` bytes. Nothing when there is none to honour (another unit, several ranges,
// nonsense: then all is sent, as RFC 9110 has it). Throws InvalidRange when it lies beyond the end.
std::optional<ByteRange> read_range(std::string_view header, std::uint64_t size);
// "bytes=0-9" of x-amz-copy-source-range, where everything else is an error.
ByteRange read_copy_range(std::string_view header, std::uint64_t size);

// If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, each with `prefix` before it
// ("x-amz-copy-source-"). Throws PreconditionFailed, or NotModified (304) when `reading`.
void check_read_conditions(const wire::Headers& headers, const std::string& prefix, const storage::ObjectInfo& object,
                           bool reading);
// If-Match and If-None-Match of a write. Throws NotImplemented on an If-None-Match other than "*".
storage::Conditions read_write_conditions(const wire::Headers& headers);

// "/bucket/key" or "bucket/key", encoded, of x-amz-copy-source. Throws InvalidArgument.
S3Address read_copy_source(std::string_view header);

// A key as an opaque token and back; throws InvalidArgument on what we did not make.
std::string make_list_token(std::string_view key);
std::string read_list_token(std::string_view token);

// max-keys and its relatives: a number from 0, capped at `most`; throws InvalidArgument.
std::size_t read_count(const wire::Request& request, const char* name, std::size_t most);

// What is kept with an object: Content-Type, x-amz-meta-… . Throws on metadata beyond 2 KB, and on what we do not do
// (customer-provided keys, object locks).
storage::ObjectHeaders read_object_headers(const wire::Headers& headers);
// "a=1&b=2" of x-amz-tagging, checked. Throws InvalidArgument, InvalidTag.
std::string read_tagging_header(const wire::Headers& headers);
std::string without_quotes(std::string_view etag);
// partNumber, from 1 to 10000; throws InvalidArgument.
std::uint32_t read_part_number(const wire::Request& request);

// The checksum that a request announces for its body.
struct AnnouncedChecksum {
  std::optional<storage::ChecksumAlgorithm> algorithm;  // by value, trailer or name
  std::string value;                                    // raw; empty: in the trailer, or ours to compute
  bool in_trailer = false;
};
// From x-amz-checksum-…, x-amz-trailer, x-amz-sdk-checksum-algorithm. Throws InvalidRequest.
AnnouncedChecksum read_checksum(const wire::Headers& headers);
// The raw value of one header. Throws InvalidRequest.
std::string read_checksum_value(storage::ChecksumAlgorithm algorithm, const std::string& text);

}  // namespace athanor::api
