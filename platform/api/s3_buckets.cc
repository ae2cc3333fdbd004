// Buckets: making, removing, looking at, and the settings that SDKs ask for.
#include "platform/api/s3_core.h"
#include "platform/api/s3_transfer.h"
#include "platform/api/xml_text.h"

namespace athanor::api {

namespace {

constexpr std::size_t kDocumentBytesMax = 64 << 10;

void write_owner(XmlWriter& xml, const std::string& account) {
  xml.open("Owner").element("ID", account).element("DisplayName", "athanor").close();
}

}  // namespace

void S3::Core::check_owner(const S3Call& call, const char* header) {
  const std::string* owner = call.request.headers.find(header);
  if (owner != nullptr && *owner != options.account) throw S3Error(403, "AccessDenied", "Access Denied");
}

wire::Response S3::Core::list_buckets(const S3Call& call) {
  const std::string prefix = call.query_or("prefix", "");
  const std::size_t count_max = read_count(call.request, "max-buckets", 10'000);
  const std::string after =
      call.asks("continuation-token") ? read_list_token(call.query_or("continuation-token", "")) : std::string();
  XmlWriter xml("ListAllMyBucketsResult");
  write_owner(xml, options.account);
  xml.open("Buckets");
  std::string last;
  std::size_t count = 0;
  bool truncated = false;
  for (const storage::BucketInfo& bucket : store.list_buckets()) {
    if (!bucket.name.starts_with(prefix) || bucket.name <= after) continue;
    if (count == count_max) {
      truncated = true;
      break;
    }
    ++count;
    last = bucket.name;
    xml.open("Bucket")
        .element("Name", bucket.name)
        .element("CreationDate", xml_date(bucket.created_ms))
        .element("BucketRegion", options.region)
        .close();
  }
  xml.close();
  if (truncated) xml.element("ContinuationToken", make_list_token(last));
  if (!prefix.empty()) xml.element("Prefix", prefix);
  return xml_response(xml.finish());
}

wire::Response S3::Core::head_bucket(const S3Call& call) {
  require_bucket(call.bucket());
  wire::Response response = empty_response(200);
  response.headers.set("x-amz-bucket-region", options.region);
  response.headers.set("x-amz-access-point-alias", "false");
  response.headers.set("Content-Type", "application/xml");
  response.head_only = true;
  return response;
}

wire::Awaitable<wire::Response> S3::Core::create_bucket(S3Call& call) {
  if (!is_bucket_name(call.bucket())) {
    throw S3Error(400, "InvalidBucketName", "The specified bucket is not valid.", {{"BucketName", call.bucket()}});
  }
  const std::string document = co_await read_document(call, kDocumentBytesMax);
  const std::string location = read_create_bucket(document);
  if (!location.empty() && location != options.region) {
    throw S3Error(
        400, "IllegalLocationConstraintException",
        fmt::format("The {} location constraint is incompatible for the region specific endpoint this request "
                    "was sent to.",
                    location));
  }
  bool exists = false;
  try {
    auto creating = call_back<Nothing>([this, name = call.bucket()](auto done) { store.create_bucket(name, done); });
    co_await std::move(creating);
  } catch (const storage::StoreError& error) {
    // us-east-1 alone greets the owner of an existing bucket with success.
    exists = error.fault() == storage::StoreError::Fault::kBucketExists && options.region == "us-east-1";
    if (!exists) throw;
  }
  wire::Response response = empty_response(200);
  response.headers.set("Location", "/" + call.bucket());
  co_return response;
}

wire::Awaitable<wire::Response> S3::Core::delete_bucket(S3Call& call) {
  auto deleting = call_back<Nothing>([this, name = call.bucket()](auto done) { store.delete_bucket(name, done); });
  co_await std::move(deleting);
  co_return empty_response(204);
}

// Status 0 when the query names no setting: then it is a listing.
wire::Response S3::Core::bucket_setting(const S3Call& call) {
  struct Absent {
    const char* name;
    const char* code;
    const char* message;
  };
  static constexpr Absent kAbsent[] = {
      {"policy", "NoSuchBucketPolicy", "The bucket policy does not exist"},
      {"policyStatus", "NoSuchBucketPolicy", "The bucket policy does not exist"},
      {"cors", "NoSuchCORSConfiguration", "The CORS configuration does not exist"},
      {"lifecycle", "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"},
      {"tagging", "NoSuchTagSet", "The TagSet does not exist"},
      {"website", "NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration"},
      {"replication", "ReplicationConfigurationNotFoundError", "The replication configuration was not found"},
      {"object-lock", "ObjectLockConfigurationNotFoundError",
       "Object Lock configuration does not exist for this bucket"},
      {"publicAccessBlock", "NoSuchPublicAccessBlockConfiguration",
       "The public access block configuration was not found"},
      {"encryption", "ServerSideEncryptionConfigurationNotFoundError",
       "The server side encryption configuration was not found"},
  };
  for (const Absent& absent : kAbsent) {
    if (!call.asks(absent.name)) continue;
    require_bucket(call.bucket());
    throw S3Error(404, absent.code, absent.message, {{"BucketName", call.bucket()}});
  }
  static constexpr std::pair<const char*, const char*> kEmpty[] = {
      {"versioning", "VersioningConfiguration"},
      {"accelerate", "AccelerateConfiguration"},
      {"logging", "BucketLoggingStatus"},
      {"notification", "NotificationConfiguration"},
  };
  for (const auto& [name, root] : kEmpty) {
    if (!call.asks(name)) continue;
    require_bucket(call.bucket());
    return xml_response(XmlWriter(root).finish());
  }
  if (call.asks("location")) {
    require_bucket(call.bucket());
    // The document is the element itself, empty for us-east-1.
    std::string text =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
    if (options.region != "us-east-1") text += escape_xml(options.region);
    return xml_response(text + "</LocationConstraint>");
  }
  if (call.asks("requestPayment")) {
    require_bucket(call.bucket());
    return xml_response(XmlWriter("RequestPaymentConfiguration").element("Payer", "BucketOwner").finish());
  }
  if (call.asks("ownershipControls")) {
    require_bucket(call.bucket());
    XmlWriter xml("OwnershipControls");
    xml.open("Rule").element("ObjectOwnership", "BucketOwnerEnforced").close();
    return xml_response(xml.finish());
  }
  if (call.asks("acl")) {
    require_bucket(call.bucket());
    XmlWriter xml("AccessControlPolicy");
    write_owner(xml, options.account);
    return xml_response(xml.finish());
  }
  for (const char* unknown : {"versions", "analytics", "inventory", "metrics", "intelligent-tiering", "session"}) {
    if (call.asks(unknown)) throw not_implemented("'" + std::string(unknown) + "' of buckets");
  }
  return empty_response(0);
}

}  // namespace athanor::api
