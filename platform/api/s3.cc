#include "platform/api/s3.h"

#include "common/error.h"
#include "common/hash.h"
#include "platform/api/on_worker.h"
#include "platform/api/s3_core.h"
#include "platform/wire/sigv2.h"
#include "platform/wire/verified_body.h"

namespace athanor::api {

std::string S3Call::query_or(std::string_view name, std::string_view fallback) const {
  const std::string* value = request.find_query(name);
  return value != nullptr ? *value : std::string(fallback);
}

S3::S3(storage::ObjectStore& store, Options options) : core_(std::make_unique<Core>(store, std::move(options))) {}

S3::~S3() = default;

void S3::finish() { core_->workers.join(); }

wire::Awaitable<wire::Response> S3::handle(wire::Request request, Authentication authentication) {
  const std::string resource = request.path;
  const std::string request_id = request.request_id;
  const bool head = request.method == "HEAD";
  std::exception_ptr thrown;
  try {
    S3Call call{std::move(request), std::move(authentication), {}};
    if (call.request.method == "POST" &&
        call.request.headers.get_or("Content-Type", "").starts_with("multipart/form-data")) {
      throw not_implemented(
          "uploads by HTML forms (presigned POST); use a presigned PUT");  // signed in the form itself
    }
    if (!call.authentication.ok()) {
      throw signature_error(call.authentication, core_->options.region, call.authentication.checked_ms);
    }
    if (call.authentication.claim.form == wire::SignatureClaim::Form::kQueryV2) wire::take_up_v2_query(call.request);
    call.address = read_address(call.request.path, call.request.headers.get_or("Host", ""));
    wire::Response response = co_await core_->serve(call);
    response.headers.set("x-amz-request-id", request_id);
    response.headers.set("x-amz-id-2", request_id);
    co_return response;
  } catch (...) {
    thrown = std::current_exception();
  }
  co_return s3_error_response(to_s3_error(thrown, request_id), resource, request_id, head);
}

namespace {

S3Error method_not_allowed(const S3Call& call) {
  return {405,
          "MethodNotAllowed",
          "The specified method is not allowed against this resource.",
          {{"Method", call.request.method}}};
}

}  // namespace

wire::Awaitable<wire::Response> S3::Core::serve(S3Call& call) {
  const std::string& method = call.request.method;
  if (method != "GET" && method != "HEAD" && method != "PUT" && method != "POST" && method != "DELETE") {
    throw method_not_allowed(call);
  }
  if (call.bucket().empty()) {
    if (method != "GET") throw method_not_allowed(call);
    co_return co_await listed(&Core::list_buckets, call);
  }
  check_owner(call, "x-amz-expected-bucket-owner");
  // Nowhere `condition ? co_await a : co_await b`: GCC 12 awaits both.
  if (call.key().empty()) co_return co_await serve_bucket(call);
  co_return co_await serve_object(call);
}

wire::Awaitable<wire::Response> S3::Core::listed(wire::Response (Core::*listing)(const S3Call&), const S3Call& call) {
  auto working = on_worker<wire::Response>(workers, [this, listing, &call] { return (this->*listing)(call); });
  co_return co_await std::move(working);
}

wire::Awaitable<wire::Response> S3::Core::serve_bucket(S3Call& call) {
  const std::string& method = call.request.method;
  wire::Response response;
  if (method == "HEAD") {
    response = head_bucket(call);
  } else if (method == "GET") {
    if (call.asks("uploads")) {
      response = co_await listed(&Core::list_uploads, call);
    } else if (call.asks("list-type")) {
      if (call.query_or("list-type", "") != "2") {
        throw invalid_argument("list-type", call.query_or("list-type", ""), "Invalid List Type");
      }
      response = co_await listed(&Core::list_objects_v2, call);
    } else {
      response = bucket_setting(call);
      if (response.status == 0) response = co_await listed(&Core::list_objects, call);
    }
  } else if (method == "PUT") {
    for (const auto& [name, value] : call.request.query) {
      if (name.empty() || name.starts_with("X-Amz-") || name == "x-id") continue;
      throw not_implemented("changing '" + name + "' of a bucket");
    }
    response = co_await create_bucket(call);
  } else if (method == "DELETE") {
    for (const auto& [name, value] : call.request.query) {
      if (name.empty() || name.starts_with("X-Amz-") || name == "x-id") continue;
      throw not_implemented("removing '" + name + "' of a bucket");
    }
    response = co_await delete_bucket(call);
  } else if (call.asks("delete")) {
    response = co_await delete_objects(call);
  } else {
    throw method_not_allowed(call);
  }
  co_return response;
}

wire::Awaitable<wire::Response> S3::Core::serve_object(S3Call& call) {
  const std::string& method = call.request.method;
  for (const char* unknown : {"acl", "legal-hold", "retention", "torrent", "restore", "select"}) {
    if (call.asks(unknown)) throw not_implemented("'" + std::string(unknown) + "' of objects");
  }
  if (const std::string version = call.query_or("versionId", "null"); version != "null") {
    throw S3Error(404, "NoSuchVersion", "The specified version does not exist.", {{"VersionId", version}});
  }
  const bool copies = call.request.headers.has("x-amz-copy-source");
  wire::Response response;
  if (method == "GET" && call.asks("uploadId")) {
    response = co_await listed(&Core::list_parts, call);
  } else if (method == "GET" && call.asks("attributes")) {
    response = co_await listed(&Core::object_attributes, call);
  } else if (method == "GET" && call.asks("tagging")) {
    response = get_tagging(call);
  } else if (method == "GET" || method == "HEAD") {
    response = get_object(call);
  } else if (method == "PUT" && call.asks("tagging")) {
    response = co_await put_tagging(call);
  } else if (method == "PUT" && (call.asks("uploadId") || call.asks("partNumber"))) {
    if (copies) {
      response = co_await copy_part(call);
    } else {
      response = co_await put_part(call);
    }
  } else if (method == "PUT" && copies) {
    response = co_await copy_object(call);
  } else if (method == "PUT") {
    response = co_await put_object(call);
  } else if (method == "POST" && call.asks("uploads")) {
    response = co_await create_upload(call);
  } else if (method == "POST" && call.asks("uploadId")) {
    response = co_await complete_upload(call);
  } else if (method == "DELETE" && call.asks("uploadId")) {
    response = co_await abort_upload(call);
  } else if (method == "DELETE" && call.asks("tagging")) {
    response = co_await put_tagging(call);
  } else if (method == "DELETE") {
    response = co_await delete_object(call);
  } else {
    throw method_not_allowed(call);
  }
  co_return response;
}

wire::Awaitable<std::string> read_text(wire::VerifiedBody& body, std::size_t bytes_max) {
  bool broken = false;
  try {
    std::string text = co_await wire::read_all(body, bytes_max);
    co_return text;
  } catch (const wire::BodyError&) {
    throw;
  } catch (const Error& error) {
    broken = error.kind() == ErrorKind::kUnavailable;
    if (!broken && error.kind() != ErrorKind::kExhausted) throw;
  }
  if (broken) {
    throw S3Error(400, "IncompleteBody",
                  "You did not provide the number of bytes specified by the Content-Length HTTP header");
  }
  throw S3Error(400, "MaxMessageLengthExceeded", "Your request was too big.",
                {{"MaxMessageLengthBytes", std::to_string(bytes_max)}});
}

wire::Awaitable<std::string> S3::Core::read_document(S3Call& call, std::size_t bytes_max) {
  AnnouncedChecksum announced = read_checksum(call.request.headers);
  const auto body = wire::open_verified_body(call.request, call.authentication.claim, call.authentication.verdict.key);
  std::string text = co_await read_text(*body, bytes_max);
  if (announced.in_trailer) {
    const std::string* value = body->trailers().find(storage::checksum_header(*announced.algorithm));
    if (value != nullptr) announced.value = read_checksum_value(*announced.algorithm, *value);
  }
  const std::string computed = announced.algorithm ? storage::checksum_of(*announced.algorithm, text) : std::string();
  check_digests(call.request.headers, announced, computed,
                storage::checksum_of(storage::ChecksumAlgorithm::kMd5, text));
  co_return text;
}

storage::BucketInfo S3::Core::require_bucket(const std::string& name) {
  const auto bucket = store.find_bucket(name);
  if (!bucket) {
    throw S3Error(404, "NoSuchBucket", "The specified bucket does not exist", {{"BucketName", name}});
  }
  return *bucket;
}

wire::Response xml_response(std::string body) {
  wire::Response response;
  response.headers.set("Content-Type", "application/xml");
  response.body = std::move(body);
  return response;
}

wire::Response empty_response(int status) {
  wire::Response response;
  response.status = status;
  return response;
}

std::string quoted(const std::string& etag) { return "\"" + etag + "\""; }

void write_checksum(XmlWriter& xml, const storage::Checksum& checksum, bool with_type) {
  xml.element(storage::checksum_element(checksum.algorithm), checksum.text());
  if (with_type) xml.element("ChecksumType", to_string(checksum.type));
}

void add_checksum_headers(wire::Headers& headers, const storage::Checksum& checksum) {
  headers.set(storage::checksum_header(checksum.algorithm), checksum.text());
  headers.set("x-amz-checksum-type", to_string(checksum.type));
}

void add_encryption_headers(wire::Headers& headers, const storage::ObjectHeaders& kept) {
  wire::Headers had;
  for (const auto& [name, value] : kept) had.add(name, value);
  for (const char* name : {"x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id",
                           "x-amz-server-side-encryption-bucket-key-enabled"}) {
    if (const std::string* value = had.find(name)) headers.set(name, *value);
  }
}

void check_digests(const wire::Headers& headers, const AnnouncedChecksum& announced, const std::string& checksum_value,
                   const std::string& md5) {
  if (const std::string* text = headers.find("content-md5")) {
    std::string expected;
    try {
      expected = from_base64(*text);
    } catch (const Error&) {
    }
    if (expected.size() != 16) {
      throw S3Error(400, "InvalidDigest", "The Content-MD5 you specified was invalid.", {{"Content-MD5", *text}});
    }
    if (expected != md5) {
      throw S3Error(400, "BadDigest", "The Content-MD5 you specified did not match what we received.",
                    {{"ExpectedDigest", *text}, {"CalculatedDigest", to_base64(md5)}});
    }
  }
  if (announced.algorithm && !announced.value.empty() && announced.value != checksum_value) {
    throw S3Error(400, "BadDigest",
                  fmt::format("The {} you specified did not match the calculated checksum.",
                              to_string(*announced.algorithm)));
  }
}

}  // namespace athanor::api
