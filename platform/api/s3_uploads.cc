// Multipart uploads.
#include <unistd.h>

#include <charconv>

#include "common/error.h"
#include "common/hash.h"
#include "platform/api/s3_core.h"
#include "platform/api/s3_transfer.h"

namespace athanor::api {

namespace {

constexpr std::uint64_t kPartBytesMax = std::uint64_t{5} << 30;
constexpr std::size_t kCompleteBytesMax = 8 << 20;
constexpr std::size_t kCopyPieceBytes = 1 << 20;

using storage::ChecksumAlgorithm;
using storage::ChecksumType;

// The number of a part to be put.
std::uint32_t part_to_put(const S3Call& call) {
  const std::uint32_t number = read_part_number(call.request);
  if (!call.asks("uploadId")) {
    throw invalid_argument("uploadId", "", "This operation does not accept a query-string without uploadId");
  }
  return number;
}

// The checksum that an upload is to have: CRC64NVME over the whole unless it says otherwise.
void choose_checksum(const wire::Headers& headers, storage::UploadInfo& upload) {
  const std::string* algorithm = headers.find("x-amz-checksum-algorithm");
  const std::string* type = headers.find("x-amz-checksum-type");
  if (algorithm != nullptr) {
    const auto found = storage::find_checksum_algorithm(*algorithm);
    if (!found) {
      throw invalid_request(
          "Checksum algorithm provided is unsupported. Please try again with any of the valid types: "
          "[CRC32, CRC32C, CRC64NVME, SHA1, SHA256, SHA512, MD5]");
    }
    upload.algorithm = *found;
    upload.announced = true;
    upload.type = *found == ChecksumAlgorithm::kCrc64Nvme ? ChecksumType::kFullObject : ChecksumType::kComposite;
  }
  if (type == nullptr) return;
  const auto wanted = storage::find_checksum_type(*type);
  if (!wanted) throw invalid_request("Value for x-amz-checksum-type header is invalid.");
  if (algorithm == nullptr) {
    throw invalid_request("The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.");
  }
  const bool possible = *wanted == ChecksumType::kFullObject ? storage::is_crc(upload.algorithm)
                                                             : upload.algorithm != ChecksumAlgorithm::kCrc64Nvme;
  if (!possible) {
    throw invalid_request(fmt::format("The {} checksum type cannot be used with the {} checksum algorithm.",
                                      to_string(*wanted), to_string(upload.algorithm)));
  }
  upload.type = *wanted;
}

// A part may not carry another checksum than its upload announced.
void check_part_algorithm(const storage::UploadInfo& upload, const AnnouncedChecksum& part) {
  if (!upload.announced || !part.algorithm || *part.algorithm == upload.algorithm) return;
  throw invalid_request(
      fmt::format("Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                  to_string(upload.algorithm), to_string(*part.algorithm)));
}

// Copies [offset, offset + length) of an open object into a part. On a worker.
void copy_bytes(const storage::OpenObject& object, const ByteRange& range, storage::IncomingBody& into) {
  if (!object.descriptor) {
    into.write(std::string_view(object.small).substr(range.offset, range.length));
    return;
  }
  std::string piece(kCopyPieceBytes, '\0');
  for (storage::Extent extent : object.slice(range.offset, range.length)) {
    while (extent.length > 0) {
      const std::size_t wanted = std::min<std::uint64_t>(piece.size(), extent.length);
      const ssize_t got = ::pread(*object.descriptor, piece.data(), wanted, static_cast<off_t>(extent.offset));
      if (got < 0) throw system_error(errno, "reading the source of a copy");
      if (got == 0) throw Error(ErrorKind::kCorrupt, "reading the source of a copy: its file ends early");
      into.write(std::string_view(piece).substr(0, static_cast<std::size_t>(got)));
      extent.offset += static_cast<std::uint64_t>(got);
      extent.length -= static_cast<std::uint64_t>(got);
    }
  }
}

}  // namespace

wire::Awaitable<wire::Response> S3::Core::create_upload(S3Call& call) {
  require_bucket(call.bucket());
  storage::UploadInfo upload;
  upload.key = call.key();
  upload.headers = read_object_headers(call.request.headers);
  choose_checksum(call.request.headers, upload);
  co_await read_document(call, 0);
  auto creating = call_back<storage::UploadInfo>(
      [this, &call, upload](auto done) { store.create_upload(call.bucket(), upload, done); });
  const storage::UploadInfo created = co_await std::move(creating);
  XmlWriter xml("InitiateMultipartUploadResult");
  xml.element("Bucket", call.bucket()).element("Key", call.key()).element("UploadId", created.id);
  wire::Response response = xml_response(xml.finish());
  if (created.announced) {
    response.headers.set("x-amz-checksum-algorithm", to_string(created.algorithm));
    response.headers.set("x-amz-checksum-type", to_string(created.type));
  }
  add_encryption_headers(response.headers, created.headers);
  co_return response;
}

wire::Awaitable<wire::Response> S3::Core::put_part(S3Call& call) {
  const std::uint32_t number = part_to_put(call);
  const std::string upload_id = call.query_or("uploadId", "");
  const storage::UploadInfo upload = store.find_upload(call.bucket(), call.key(), upload_id);
  AnnouncedChecksum announced = read_checksum(call.request.headers);
  check_part_algorithm(upload, announced);
  const ChecksumAlgorithm algorithm = announced.algorithm.value_or(upload.algorithm);

  const auto from = wire::open_verified_body(call.request, call.authentication.claim, call.authentication.verdict.key);
  const auto length = from->length();
  if (!length) throw S3Error(411, "MissingContentLength", "You must provide the Content-Length HTTP header.");
  if (*length > kPartBytesMax) {
    throw S3Error(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size",
                  {{"MaxSizeAllowed", std::to_string(kPartBytesMax)}});
  }
  const std::shared_ptr<storage::IncomingBody> body =
      store.receive_part(call.bucket(), call.key(), upload_id, number, *length, {algorithm});
  co_await receive(*from, body, workers, kPartBytesMax);
  if (announced.in_trailer) {
    const std::string* value = from->trailers().find(storage::checksum_header(algorithm));
    if (value != nullptr) announced.value = read_checksum_value(algorithm, *value);
  }
  const std::string checksum = body->checksum(algorithm);
  check_digests(call.request.headers, announced, checksum, body->md5());

  auto putting = call_back<storage::PartInfo>(
      [this, upload_id, number, body](auto done) { store.put_part(upload_id, number, body, done); });
  const storage::PartInfo info = co_await std::move(putting);
  wire::Response response = empty_response(200);
  response.headers.set("ETag", quoted(info.etag));
  response.headers.set(storage::checksum_header(algorithm), to_base64(checksum));
  add_encryption_headers(response.headers, upload.headers);
  co_return response;
}

wire::Awaitable<wire::Response> S3::Core::copy_part(S3Call& call) {
  const std::uint32_t number = part_to_put(call);
  const std::string upload_id = call.query_or("uploadId", "");
  const wire::Headers& headers = call.request.headers;
  check_owner(call, "x-amz-source-expected-bucket-owner");
  const storage::UploadInfo upload = store.find_upload(call.bucket(), call.key(), upload_id);
  const S3Address from = read_copy_source(headers.get_or("x-amz-copy-source", ""));
  require_bucket(from.bucket);
  const auto object = std::make_shared<storage::OpenObject>(store.open_object(from.bucket, from.key));
  check_read_conditions(headers, "x-amz-copy-source-", object->info, false);
  ByteRange range{0, object->info.size};
  if (const std::string* text = headers.find("x-amz-copy-source-range")) {
    range = read_copy_range(*text, object->info.size);
  }
  const std::shared_ptr<storage::IncomingBody> body =
      store.receive_part(call.bucket(), call.key(), upload_id, number, range.length, {});
  auto copying = on_worker<Nothing>(workers, [object, range, body] {
    copy_bytes(*object, range, *body);
    body->finish();
    return Nothing();
  });
  co_await std::move(copying);
  auto putting = call_back<storage::PartInfo>(
      [this, upload_id, number, body](auto done) { store.put_part(upload_id, number, body, done); });
  const storage::PartInfo info = co_await std::move(putting);
  XmlWriter xml("CopyPartResult");
  xml.element("ETag", quoted(info.etag)).element("LastModified", xml_date(info.modified_ms));
  xml.element(storage::checksum_element(upload.algorithm), to_base64(info.checksum));
  co_return xml_response(xml.finish());
}

wire::Awaitable<wire::Response> S3::Core::complete_upload(S3Call& call) {
  const wire::Headers& headers = call.request.headers;
  storage::CompleteRequest complete;
  complete.bucket = call.bucket();
  complete.key = call.key();
  complete.upload_id = call.query_or("uploadId", "");
  complete.conditions = read_write_conditions(headers);
  const storage::UploadInfo upload = store.find_upload(call.bucket(), call.key(), complete.upload_id);
  // Here x-amz-checksum-… speaks of the whole object, not of the document that is sent.
  if (upload.type == ChecksumType::kFullObject) {
    if (const std::string* text = headers.find(storage::checksum_header(upload.algorithm))) {
      complete.checksum = read_checksum_value(upload.algorithm, *text);
    }
  }
  if (const std::string* type = headers.find("x-amz-checksum-type");
      type != nullptr && *type != to_string(upload.type)) {
    throw invalid_request(
        fmt::format("The upload was created using the {} checksum mode. The complete request must use "
                    "the same checksum mode.",
                    to_string(upload.type)));
  }
  if (const std::string* size = headers.find("x-amz-mp-object-size")) {
    std::uint64_t bytes = 0;
    const auto [end, failure] = std::from_chars(size->data(), size->data() + size->size(), bytes);
    if (failure != std::errc() || end != size->data() + size->size()) {
      throw invalid_request("Value for x-amz-mp-object-size header is invalid.");
    }
    complete.size = bytes;
  }
  const auto body = wire::open_verified_body(call.request, call.authentication.claim, call.authentication.verdict.key);
  const std::string document = co_await read_text(*body, kCompleteBytesMax);
  complete.parts = read_complete_upload(document);
  auto completing =
      call_back<storage::ObjectInfo>([this, complete](auto done) { store.complete_upload(complete, done); });
  const storage::ObjectInfo info = co_await std::move(completing);
  XmlWriter xml("CompleteMultipartUploadResult");
  xml.element("Location",
              fmt::format("{}://{}/{}/{}", call.request.secure ? "https" : "http", headers.get_or("Host", "localhost"),
                          call.bucket(), wire::percent_encode(call.key(), true)));
  xml.element("Bucket", call.bucket()).element("Key", call.key()).element("ETag", quoted(info.etag));
  write_checksum(xml, info.checksum, true);
  wire::Response response = xml_response(xml.finish());
  add_encryption_headers(response.headers, info.headers);
  co_return response;
}

wire::Awaitable<wire::Response> S3::Core::abort_upload(S3Call& call) {
  const std::string upload_id = call.query_or("uploadId", "");
  auto aborting = call_back<Nothing>(
      [this, &call, upload_id](auto done) { store.abort_upload(call.bucket(), call.key(), upload_id, done); });
  co_await std::move(aborting);
  co_return empty_response(204);
}

wire::Response S3::Core::list_parts(const S3Call& call) {
  const std::string upload_id = call.query_or("uploadId", "");
  const storage::UploadInfo upload = store.find_upload(call.bucket(), call.key(), upload_id);
  const std::size_t count_max = read_count(call.request, "max-parts", 1000);
  const std::size_t marker =
      call.asks("part-number-marker") ? read_count(call.request, "part-number-marker", storage::kPartNumberMax) : 0;
  auto parts = store.list_parts(upload_id, static_cast<std::uint32_t>(marker), count_max + 1);
  const bool truncated = parts.size() > count_max;
  if (truncated) parts.resize(count_max);
  XmlWriter xml("ListPartsResult");
  xml.element("Bucket", call.bucket()).element("Key", call.key()).element("UploadId", upload_id);
  xml.open("Initiator").element("ID", options.account).element("DisplayName", "athanor").close();
  xml.open("Owner").element("ID", options.account).element("DisplayName", "athanor").close();
  xml.element("StorageClass", "STANDARD")
      .element("PartNumberMarker", marker)
      .element("NextPartNumberMarker", parts.empty() ? 0 : parts.back().number)
      .element("MaxParts", count_max)
      .flag("IsTruncated", truncated);
  if (upload.announced) {
    xml.element("ChecksumAlgorithm", to_string(upload.algorithm)).element("ChecksumType", to_string(upload.type));
  }
  for (const storage::PartInfo& part : parts) {
    xml.open("Part")
        .element("PartNumber", part.number)
        .element("LastModified", xml_date(part.modified_ms))
        .element("ETag", quoted(part.etag))
        .element("Size", part.size);
    if (upload.announced) xml.element(storage::checksum_element(upload.algorithm), to_base64(part.checksum));
    xml.close();
  }
  return xml_response(xml.finish());
}

}  // namespace athanor::api
