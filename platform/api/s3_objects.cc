// Objects: putting, getting, copying, removing, and what is known of them.
#include <algorithm>
#include <charconv>

#include "common/hash.h"
#include "platform/api/s3_core.h"
#include "platform/api/s3_transfer.h"

namespace athanor::api {

namespace {

constexpr std::uint64_t kPutBytesMax = std::uint64_t{5} << 30;
constexpr std::size_t kDocumentBytesMax = 64 << 10;

// The bytes of one part of a multipart object.
ByteRange part_range(const S3Call& call, const storage::ObjectInfo& object) {
  const std::uint32_t number = read_part_number(call.request);
  std::uint64_t offset = 0;
  for (const storage::ObjectPart& part : object.parts) {
    if (part.number == number) return {offset, part.size};
    offset += part.size;
  }
  if (object.parts.empty() && number == 1) return {0, object.size};
  throw S3Error(416, "InvalidPartNumber", "The requested partnumber is not satisfiable",
                {{"ActualPartCount", std::to_string(std::max<std::size_t>(object.parts.size(), 1))},
                 {"PartNumberRequested", std::to_string(number)}});
}

void add_object_headers(wire::Headers& headers, const storage::ObjectInfo& object) {
  headers.set("ETag", quoted(object.etag));
  headers.set("Last-Modified", http_date(object.modified_ms));
  headers.set("Accept-Ranges", "bytes");
  headers.set("Content-Type", "binary/octet-stream");
  for (const auto& [name, value] : object.headers) headers.set(name, value);
  if (!object.tags.empty()) {
    headers.set("x-amz-tagging-count", std::to_string(1 + std::count(object.tags.begin(), object.tags.end(), '&')));
  }
}

void add_overrides(wire::Headers& headers, const S3Call& call) {
  static constexpr std::pair<const char*, const char*> kOverrides[] = {
      {"response-content-type", "Content-Type"},
      {"response-content-language", "Content-Language"},
      {"response-expires", "Expires"},
      {"response-cache-control", "Cache-Control"},
      {"response-content-disposition", "Content-Disposition"},
      {"response-content-encoding", "Content-Encoding"},
  };
  for (const auto& [parameter, header] : kOverrides) {
    const std::string* value = call.request.find_query(parameter);
    if (value == nullptr) continue;
    if (value->find_first_of("\r\n") != std::string::npos) {
      throw invalid_argument(parameter, *value, "A header cannot hold a line break");
    }
    headers.set(header, *value);
  }
}

}  // namespace

wire::Response S3::Core::get_object(const S3Call& call) {
  require_bucket(call.bucket());
  const storage::OpenObject object = store.open_object(call.bucket(), call.key());
  const storage::ObjectInfo& info = object.info;
  const wire::Headers& asked = call.request.headers;
  check_read_conditions(asked, "", info, true);

  std::optional<ByteRange> range;
  if (call.asks("partNumber")) {
    range = part_range(call, info);
  } else if (const std::string* header = asked.find("range")) {
    const std::string* only_if = asked.find("if-range");
    if (only_if == nullptr || without_quotes(*only_if) == info.etag) range = read_range(*header, info.size);
  }
  wire::Response response;
  add_object_headers(response.headers, info);
  add_overrides(response.headers, call);
  if (range) {
    response.status = 206;
    if (range->length > 0) {
      response.headers.set("Content-Range",
                           fmt::format("bytes {}-{}/{}", range->offset, range->offset + range->length - 1, info.size));
    }
    if (call.asks("partNumber") && !info.parts.empty()) {
      response.headers.set("x-amz-mp-parts-count", std::to_string(info.parts.size()));
    }
  }
  const bool whole = !range || range->length == info.size;
  if (whole && asked.get_or("x-amz-checksum-mode", "") == "ENABLED") {
    add_checksum_headers(response.headers, info.checksum);
  }
  const ByteRange sent = range.value_or(ByteRange{0, info.size});
  response.head_only = call.request.method == "HEAD";
  if (!object.descriptor) {
    response.body = sent.length == info.size ? object.small : object.small.substr(sent.offset, sent.length);
    return response;
  }
  for (const storage::Extent& piece : object.slice(sent.offset, sent.length)) {
    response.files.push_back({object.descriptor, piece.offset, piece.length});
  }
  return response;
}

wire::Response S3::Core::object_attributes(const S3Call& call) {
  require_bucket(call.bucket());
  const storage::ObjectInfo object = store.stat(call.bucket(), call.key());
  std::string wanted;
  for (const auto& [name, value] : call.request.headers) {
    wire::Headers one;
    one.add(name, value);
    if (one.has("x-amz-object-attributes")) wanted += "," + value;
  }
  if (wanted.empty()) {
    throw invalid_request(
        "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing "
        "or empty");
  }
  const auto asks = [&](std::string_view attribute) { return wanted.find(attribute) != std::string::npos; };
  XmlWriter xml("GetObjectAttributesResponse");
  if (asks("ETag")) xml.element("ETag", object.etag);
  if (asks("Checksum")) {
    xml.open("Checksum");
    write_checksum(xml, object.checksum, true);
    xml.close();
  }
  if (asks("ObjectParts") && !object.parts.empty()) {
    const std::string* max_text = call.request.headers.find("x-amz-max-parts");
    const std::string* marker_text = call.request.headers.find("x-amz-part-number-marker");
    std::uint32_t most = 1000;
    std::uint32_t marker = 0;
    if (max_text != nullptr) std::from_chars(max_text->data(), max_text->data() + max_text->size(), most);
    if (marker_text != nullptr) std::from_chars(marker_text->data(), marker_text->data() + marker_text->size(), marker);
    most = std::min<std::uint32_t>(most, 1000);
    XmlWriter entries = XmlWriter::fragment();
    std::uint32_t count = 0;
    std::uint32_t last = 0;
    bool truncated = false;
    for (const storage::ObjectPart& part : object.parts) {
      if (part.number <= marker) continue;
      if (count == most) {
        truncated = true;
        break;
      }
      ++count;
      last = part.number;
      entries.open("Part").element("PartNumber", part.number).element("Size", part.size);
      entries.element(storage::checksum_element(object.checksum.algorithm), to_base64(part.checksum)).close();
    }
    xml.open("ObjectParts")
        .element("TotalPartsCount", object.parts.size())
        .element("PartsCount", object.parts.size())
        .element("PartNumberMarker", marker)
        .element("NextPartNumberMarker", last)
        .element("MaxParts", most)
        .flag("IsTruncated", truncated);
    // Part by part only where parts have checksums of their own standing.
    if (object.checksum.type == storage::ChecksumType::kComposite) xml.append(entries);
    xml.close();
  }
  if (asks("StorageClass")) xml.element("StorageClass", "STANDARD");
  if (asks("ObjectSize")) xml.element("ObjectSize", object.size);
  wire::Response response = xml_response(xml.finish());
  response.headers.set("Last-Modified", http_date(object.modified_ms));
  return response;
}

wire::Awaitable<wire::Response> S3::Core::put_object(S3Call& call) {
  require_bucket(call.bucket());
  storage::PutRequest put;
  put.bucket = call.bucket();
  put.key = call.key();
  put.headers = read_object_headers(call.request.headers);
  put.tags = read_tagging_header(call.request.headers);
  put.conditions = read_write_conditions(call.request.headers);
  AnnouncedChecksum announced = read_checksum(call.request.headers);
  put.algorithm = announced.algorithm.value_or(storage::ChecksumAlgorithm::kCrc64Nvme);

  const auto body = wire::open_verified_body(call.request, call.authentication.claim, call.authentication.verdict.key);
  put.body = store.receive({put.algorithm});
  co_await receive(*body, put.body, workers, kPutBytesMax);
  if (announced.in_trailer) {
    const std::string* value = body->trailers().find(storage::checksum_header(put.algorithm));
    if (value != nullptr) announced.value = read_checksum_value(put.algorithm, *value);
  }
  check_digests(call.request.headers, announced, put.body->checksum(put.algorithm), put.body->md5());

  // The request may only be given away once: the callback's type must be copyable.
  auto shared = std::make_shared<storage::PutRequest>(std::move(put));
  auto putting = call_back<storage::ObjectInfo>([this, shared](auto done) { store.put(std::move(*shared), done); });
  const storage::ObjectInfo info = co_await std::move(putting);
  wire::Response response = empty_response(200);
  response.headers.set("ETag", quoted(info.etag));
  add_checksum_headers(response.headers, info.checksum);
  add_encryption_headers(response.headers, info.headers);
  co_return response;
}

wire::Awaitable<wire::Response> S3::Core::copy_object(S3Call& call) {
  const wire::Headers& headers = call.request.headers;
  check_owner(call, "x-amz-source-expected-bucket-owner");
  require_bucket(call.bucket());
  const S3Address from = read_copy_source(headers.get_or("x-amz-copy-source", ""));
  require_bucket(from.bucket);
  const storage::ObjectInfo source = store.stat(from.bucket, from.key);
  check_read_conditions(headers, "x-amz-copy-source-", source, false);

  const auto directive = [&](const char* name) {
    const std::string value = headers.get_or(name, "COPY");
    if (value != "COPY" && value != "REPLACE") throw invalid_argument(name, value, "Unknown directive.");
    return value == "REPLACE";
  };
  storage::CopyRequest copy;
  copy.from_bucket = from.bucket;
  copy.from_key = from.key;
  copy.from_etag = source.etag;
  copy.bucket = call.bucket();
  copy.key = call.key();
  copy.conditions = read_write_conditions(headers);
  const bool replaces = directive("x-amz-metadata-directive");
  if (replaces) copy.headers = read_object_headers(headers);
  if (directive("x-amz-tagging-directive")) copy.tags = read_tagging_header(headers);
  if (from.bucket == call.bucket() && from.key == call.key() && !replaces && !headers.has("x-amz-storage-class") &&
      !headers.has("x-amz-server-side-encryption")) {
    throw invalid_request(
        "This copy request is illegal because it is trying to copy an object to itself without changing "
        "the object's metadata, storage class, website redirect location or encryption attributes.");
  }
  auto copying = call_back<storage::ObjectInfo>([this, &copy](auto done) { store.copy(std::move(copy), done); });
  const storage::ObjectInfo info = co_await std::move(copying);
  XmlWriter xml("CopyObjectResult");
  xml.element("ETag", quoted(info.etag)).element("LastModified", xml_date(info.modified_ms));
  write_checksum(xml, info.checksum, true);
  wire::Response response = xml_response(xml.finish());
  add_encryption_headers(response.headers, info.headers);
  co_return response;
}

wire::Awaitable<wire::Response> S3::Core::delete_object(S3Call& call) {
  require_bucket(call.bucket());
  const std::string if_match = without_quotes(call.request.headers.get_or("if-match", ""));
  auto deleting =
      call_back<bool>([this, &call, if_match](auto done) { store.remove(call.bucket(), call.key(), if_match, done); });
  co_await std::move(deleting);
  co_return empty_response(204);
}

wire::Response S3::Core::get_tagging(const S3Call& call) {
  require_bucket(call.bucket());
  const storage::ObjectInfo object = store.stat(call.bucket(), call.key());
  XmlWriter xml("Tagging");
  xml.open("TagSet");
  for (const auto& [key, value] : wire::parse_query(object.tags)) {
    xml.open("Tag").element("Key", key).element("Value", value).close();
  }
  return xml_response(xml.finish());
}

// PUT with a document, or DELETE.
wire::Awaitable<wire::Response> S3::Core::put_tagging(S3Call& call) {
  require_bucket(call.bucket());
  const bool removes = call.request.method == "DELETE";
  std::string tags;
  if (!removes) {
    const std::string document = co_await read_document(call, kDocumentBytesMax);
    tags = read_tagging(document);
  }
  auto setting =
      call_back<Nothing>([this, &call, tags](auto done) { store.set_tags(call.bucket(), call.key(), tags, done); });
  co_await std::move(setting);
  co_return empty_response(removes ? 204 : 200);
}

}  // namespace athanor::api
