// The S3 front's insides: one call, and the operations by what they work on (s3_buckets.cc, s3_objects.cc,
// s3_uploads.cc, s3_listing.cc).
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <string>

#include "platform/api/s3.h"
#include "platform/api/s3_error.h"
#include "platform/api/s3_request.h"
#include "platform/api/s3_xml.h"
#include "platform/wire/verified_body.h"

namespace athanor::api {

// One request on its way through. Lives in S3::handle's frame until the response is there.
struct S3Call {
  wire::Request request;
  Authentication authentication;
  S3Address address;

  bool asks(std::string_view parameter) const { return request.find_query(parameter) != nullptr; }
  std::string query_or(std::string_view name, std::string_view fallback) const;
  const std::string& bucket() const { return address.bucket; }
  const std::string& key() const { return address.key; }
};

struct S3::Core {
  using Nothing = storage::ObjectStore::Nothing;

  Core(storage::ObjectStore& object_store, Options chosen)
      : store(object_store), options(std::move(chosen)), workers(static_cast<std::size_t>(options.worker_threads)) {}
  ~Core() { workers.join(); }

  // Chooses the operation. What looks at a row or two is done at once; listings and bodies go to the workers.
  wire::Awaitable<wire::Response> serve(S3Call& call);
  wire::Awaitable<wire::Response> serve_bucket(S3Call& call);
  wire::Awaitable<wire::Response> serve_object(S3Call& call);

  // s3_buckets.cc
  wire::Response list_buckets(const S3Call& call);
  wire::Response bucket_setting(const S3Call& call);  // the small GETs
  wire::Awaitable<wire::Response> create_bucket(S3Call& call);
  wire::Awaitable<wire::Response> delete_bucket(S3Call& call);
  wire::Response head_bucket(const S3Call& call);
  void check_owner(const S3Call& call, const char* header);

  // s3_listing.cc
  wire::Response list_objects(const S3Call& call);
  wire::Response list_objects_v2(const S3Call& call);
  wire::Response list_uploads(const S3Call& call);
  wire::Awaitable<wire::Response> delete_objects(S3Call& call);

  // s3_objects.cc
  wire::Response get_object(const S3Call& call);
  wire::Response object_attributes(const S3Call& call);
  wire::Response get_tagging(const S3Call& call);
  wire::Awaitable<wire::Response> put_tagging(S3Call& call);
  wire::Awaitable<wire::Response> put_object(S3Call& call);
  wire::Awaitable<wire::Response> copy_object(S3Call& call);
  wire::Awaitable<wire::Response> delete_object(S3Call& call);

  // s3_uploads.cc
  wire::Awaitable<wire::Response> create_upload(S3Call& call);
  wire::Awaitable<wire::Response> put_part(S3Call& call);
  wire::Awaitable<wire::Response> copy_part(S3Call& call);
  wire::Awaitable<wire::Response> complete_upload(S3Call& call);
  wire::Awaitable<wire::Response> abort_upload(S3Call& call);
  wire::Response list_parts(const S3Call& call);

  // One of the above, on a worker.
  wire::Awaitable<wire::Response> listed(wire::Response (Core::*listing)(const S3Call&), const S3Call& call);

  // The body of a request that is a document, verified; at most `bytes_max`.
  wire::Awaitable<std::string> read_document(S3Call& call, std::size_t bytes_max);
  storage::BucketInfo require_bucket(const std::string& name);

  storage::ObjectStore& store;
  const Options options;
  boost::asio::thread_pool workers;
};

// All of a body; throws S3Error IncompleteBody when the client broke off, MaxMessageLengthExceeded.
wire::Awaitable<std::string> read_text(wire::VerifiedBody& body, std::size_t bytes_max);

wire::Response xml_response(std::string body);
wire::Response empty_response(int status);
std::string quoted(const std::string& etag);
// Adds <ChecksumX> and, when `with_type`, <ChecksumType>.
void write_checksum(XmlWriter& xml, const storage::Checksum& checksum, bool with_type);
// x-amz-checksum-… and x-amz-checksum-type.
void add_checksum_headers(wire::Headers& headers, const storage::Checksum& checksum);
// The headers by which SSE is acknowledged.
void add_encryption_headers(wire::Headers& headers, const storage::ObjectHeaders& kept);
// Content-MD5 and the announced checksum against what came. Throws BadDigest, InvalidDigest.
void check_digests(const wire::Headers& headers, const AnnouncedChecksum& announced, const std::string& checksum_value,
                   const std::string& md5);

}  // namespace athanor::api
