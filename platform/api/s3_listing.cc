// Listings, and removing many objects at once.
#include <mutex>

#include "platform/api/s3_core.h"
#include "platform/api/s3_transfer.h"

namespace athanor::api {

namespace {

constexpr std::size_t kPageMax = 1000;
constexpr std::size_t kDeleteBytesMax = 4 << 20;

// Keys in a reply: as they are, or percent-encoded when the client asked for it (XML cannot carry every key).
class Encoding {
 public:
  explicit Encoding(const S3Call& call) {
    const std::string type = call.query_or("encoding-type", "");
    if (!type.empty() && type != "url") {
      throw invalid_argument("encoding-type", type, "Invalid Encoding Method specified in Request");
    }
    encoded_ = !type.empty();
  }
  std::string operator()(const std::string& key) const { return encoded_ ? wire::percent_encode(key, true) : key; }
  bool encoded() const { return encoded_; }

 private:
  bool encoded_ = false;
};

void write_entries(XmlWriter& xml, const storage::Listing& listing, const Encoding& encode,
                   const std::string* owner_account) {
  for (const storage::ObjectInfo& object : listing.objects) {
    xml.open("Contents")
        .element("Key", encode(object.key))
        .element("LastModified", xml_date(object.modified_ms))
        .element("ETag", quoted(object.etag))
        .element("ChecksumAlgorithm", to_string(object.checksum.algorithm))
        .element("ChecksumType", to_string(object.checksum.type))
        .element("Size", object.size);
    if (owner_account != nullptr) {
      xml.open("Owner").element("ID", *owner_account).element("DisplayName", "athanor").close();
    }
    xml.element("StorageClass", "STANDARD").close();
  }
  for (const std::string& group : listing.groups) xml.open("CommonPrefixes").element("Prefix", encode(group)).close();
}

}  // namespace

wire::Response S3::Core::list_objects(const S3Call& call) {
  const Encoding encode(call);
  storage::ListQuery query;
  query.prefix = call.query_or("prefix", "");
  query.delimiter = call.query_or("delimiter", "");
  query.start_after = call.query_or("marker", "");
  query.count_max = read_count(call.request, "max-keys", kPageMax);
  const storage::Listing listing = store.list(call.bucket(), query);
  XmlWriter xml("ListBucketResult");
  xml.element("Name", call.bucket())
      .element("Prefix", encode(query.prefix))
      .element("Marker", encode(query.start_after))
      .element("MaxKeys", query.count_max);
  if (!query.delimiter.empty()) xml.element("Delimiter", encode(query.delimiter));
  if (encode.encoded()) xml.element("EncodingType", "url");
  xml.flag("IsTruncated", listing.truncated);
  if (listing.truncated) xml.element("NextMarker", encode(listing.last));
  write_entries(xml, listing, encode, &options.account);
  return xml_response(xml.finish());
}

wire::Response S3::Core::list_objects_v2(const S3Call& call) {
  const Encoding encode(call);
  storage::ListQuery query;
  query.prefix = call.query_or("prefix", "");
  query.delimiter = call.query_or("delimiter", "");
  query.start_after = call.query_or("start-after", "");
  query.count_max = read_count(call.request, "max-keys", kPageMax);
  const std::string token = call.query_or("continuation-token", "");
  const std::string start_after = query.start_after;
  if (call.asks("continuation-token")) query.start_after = read_list_token(token);
  const storage::Listing listing = store.list(call.bucket(), query);
  XmlWriter xml("ListBucketResult");
  xml.element("Name", call.bucket()).element("Prefix", encode(query.prefix));
  if (!token.empty()) xml.element("ContinuationToken", token);
  if (!start_after.empty()) xml.element("StartAfter", encode(start_after));
  xml.element("KeyCount", listing.objects.size() + listing.groups.size()).element("MaxKeys", query.count_max);
  if (!query.delimiter.empty()) xml.element("Delimiter", encode(query.delimiter));
  if (encode.encoded()) xml.element("EncodingType", "url");
  xml.flag("IsTruncated", listing.truncated);
  if (listing.truncated) xml.element("NextContinuationToken", make_list_token(listing.last));
  const bool with_owner = call.query_or("fetch-owner", "") == "true";
  write_entries(xml, listing, encode, with_owner ? &options.account : nullptr);
  return xml_response(xml.finish());
}

wire::Response S3::Core::list_uploads(const S3Call& call) {
  const Encoding encode(call);
  const std::string delimiter = call.query_or("delimiter", "");
  const std::size_t count_max = read_count(call.request, "max-uploads", kPageMax);
  storage::UploadQuery query;
  query.prefix = call.query_or("prefix", "");
  query.key_marker = call.query_or("key-marker", "");
  query.id_marker = query.key_marker.empty() ? "" : call.query_or("upload-id-marker", "");

  XmlWriter entries = XmlWriter::fragment();
  std::vector<std::string> groups;
  std::size_t count = 0;
  bool truncated = false;
  storage::UploadQuery at = query;
  for (bool more = true; more;) {
    const auto page = store.list_uploads(call.bucket(), at);
    more = page.size() == at.count_max;
    for (const storage::UploadInfo& upload : page) {
      const auto cut = delimiter.empty() ? std::string::npos : upload.key.find(delimiter, query.prefix.size());
      const std::string group = cut == std::string::npos ? "" : upload.key.substr(0, cut + delimiter.size());
      const bool known = !group.empty() && ((!groups.empty() && groups.back() == group) || group == query.key_marker);
      if (!known && count == count_max) {
        truncated = true;
        more = false;
        break;
      }
      at.key_marker = group.empty() ? upload.key : group;
      at.id_marker = group.empty() ? upload.id : "";
      if (known) {
        at.key_marker = upload.key;
        at.id_marker = upload.id;
        continue;
      }
      ++count;
      if (!group.empty()) {
        groups.push_back(group);
        continue;
      }
      entries.open("Upload").element("Key", encode(upload.key)).element("UploadId", upload.id);
      entries.open("Initiator").element("ID", options.account).element("DisplayName", "athanor").close();
      entries.open("Owner").element("ID", options.account).element("DisplayName", "athanor").close();
      entries.element("StorageClass", "STANDARD").element("Initiated", xml_date(upload.created_ms));
      if (upload.announced) {
        entries.element("ChecksumAlgorithm", to_string(upload.algorithm))
            .element("ChecksumType", to_string(upload.type));
      }
      entries.close();
    }
  }
  XmlWriter xml("ListMultipartUploadsResult");
  xml.element("Bucket", call.bucket())
      .element("KeyMarker", encode(query.key_marker))
      .element("UploadIdMarker", query.id_marker)
      .element("Prefix", encode(query.prefix));
  if (!delimiter.empty()) xml.element("Delimiter", encode(delimiter));
  if (encode.encoded()) xml.element("EncodingType", "url");
  xml.element("MaxUploads", count_max).flag("IsTruncated", truncated);
  if (truncated) {
    xml.element("NextKeyMarker", encode(at.key_marker)).element("NextUploadIdMarker", at.id_marker);
  }
  xml.append(entries);
  for (const std::string& group : groups) xml.open("CommonPrefixes").element("Prefix", encode(group)).close();
  return xml_response(xml.finish());
}

wire::Awaitable<wire::Response> S3::Core::delete_objects(S3Call& call) {
  if (!call.request.headers.has("content-md5") && !read_checksum(call.request.headers).algorithm) {
    throw invalid_request("Missing required header for this request: Content-MD5 OR x-amz-checksum-*");
  }
  const std::string document = co_await read_document(call, kDeleteBytesMax);
  const DeleteBody request = read_delete(document);
  require_bucket(call.bucket());

  // All are queued at once, so that they share commits; the last to end wakes us.
  struct Progress {
    std::mutex mutex;
    std::size_t left;
    std::vector<std::exception_ptr> failures;
  };
  auto progress = std::make_shared<Progress>();
  progress->left = request.keys.size();
  progress->failures.resize(request.keys.size());
  auto deleting = call_back<Nothing>([this, &call, &request, progress](auto done) {
    for (std::size_t i = 0; i < request.keys.size(); ++i) {
      store.remove(call.bucket(), request.keys[i].key, request.keys[i].etag,
                   [progress, i, done](std::exception_ptr failure, bool) {
                     {
                       const std::lock_guard lock(progress->mutex);
                       progress->failures[i] = failure;
                       if (--progress->left > 0) return;
                     }
                     done(nullptr, Nothing());
                   });
    }
  });
  co_await std::move(deleting);

  XmlWriter xml("DeleteResult");
  for (std::size_t i = 0; i < request.keys.size(); ++i) {
    if (progress->failures[i]) {
      const S3Error error = to_s3_error(progress->failures[i], call.request.request_id);
      xml.open("Error").element("Key", request.keys[i].key).element("Code", error.code());
      xml.element("Message", error.what()).close();
    } else if (!request.quiet) {
      xml.open("Deleted").element("Key", request.keys[i].key).close();
    }
  }
  co_return xml_response(xml.finish());
}

}  // namespace athanor::api
