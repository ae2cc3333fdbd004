#include "platform/api/s3_error.h"

#include <fmt/format.h>

#include "common/hash.h"
#include "common/log.h"
#include "platform/api/xml_text.h"
#include "platform/storage/object_store.h"
#include "platform/wire/amz_date.h"
#include "platform/wire/verified_body.h"

namespace athanor::api {

namespace {

using wire::SignatureFault;

S3Error store_error(const storage::StoreError& error) {
  using Fault = storage::StoreError::Fault;
  switch (error.fault()) {
    case Fault::kNoSuchBucket: return {404, "NoSuchBucket", "The specified bucket does not exist"};
    case Fault::kNoSuchKey: return {404, "NoSuchKey", "The specified key does not exist."};
    case Fault::kNoSuchUpload:
      return {
          404, "NoSuchUpload",
          "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
          "completed."};
    case Fault::kBucketExists:
      return {409, "BucketAlreadyOwnedByYou",
              "Your previous request to create the named bucket succeeded and you already own it."};
    case Fault::kBucketNotEmpty: return {409, "BucketNotEmpty", "The bucket you tried to delete is not empty"};
    case Fault::kPreconditionFailed:
      return {412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold"};
    case Fault::kInvalidPart:
      return {400, "InvalidPart",
              "One or more of the specified parts could not be found.  The part may not have been uploaded, or the "
              "specified entity tag may not match the part's entity tag."};
    case Fault::kInvalidPartOrder:
      return {400, "InvalidPartOrder",
              "The list of parts was not in ascending order. Parts must be ordered by part number."};
    case Fault::kPartTooSmall:
      return {400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size"};
    case Fault::kChecksumMismatch:
      return {400, "BadDigest", "The checksum or size that you specified did not match what we received."};
  }
  return {500, "InternalError", "We encountered an internal error. Please try again."};
}

S3Error body_error(const wire::BodyError& error) {
  using Fault = wire::BodyError::Fault;
  switch (error.fault()) {
    case Fault::kHashMismatch: return {400, "XAmzContentSHA256Mismatch", error.what()};
    case Fault::kSignatureMismatch: return {403, "SignatureDoesNotMatch", error.what()};
    case Fault::kMalformedChunk: return {400, "InvalidChunkSizeError", error.what()};
    case Fault::kMalformedTrailer: return {400, "MalformedTrailerError", error.what()};
    case Fault::kIncomplete: return {400, "IncompleteBody", error.what()};
    case Fault::kLengthMissing:
      return {411, "MissingContentLength", "You must provide the Content-Length HTTP header."};
  }
  return {400, "InvalidRequest", error.what()};
}

S3Error by_kind(const Error& error, const std::string& request_id) {
  switch (error.kind()) {
    case ErrorKind::kInvalid: return {400, "InvalidRequest", error.what()};
    case ErrorKind::kExhausted:
      log::warning("s3", "{}: {}", request_id, error.what());
      return {507, "InsufficientStorage", "There is no space left on the device that holds the object store."};
    case ErrorKind::kUnavailable:
      log::warning("s3", "{}: {}", request_id, error.what());
      return {503, "ServiceUnavailable", "Please try again."};
    default:
      log::error("s3", "{}: {}", request_id, error.what());
      return {500, "InternalError", "We encountered an internal error. Please try again."};
  }
}

// The text to sign as hexadecimal bytes, as S3 shows it.
std::string spaced_hex(std::string_view text) {
  const std::string hex = to_hex(text);
  std::string spaced;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    if (i > 0) spaced += ' ';
    spaced += hex.substr(i, 2);
  }
  return spaced;
}

}  // namespace

S3Error invalid_argument(const std::string& name, const std::string& value, const std::string& message) {
  return {400, "InvalidArgument", message, {{"ArgumentName", name}, {"ArgumentValue", value}}};
}

namespace {

// "20261127T182610Z" as errors tell it: "2026-11-27T18:26:10Z".
std::string error_date(const std::string& amz_date) {
  const std::string_view at = amz_date;
  return fmt::format("{}-{}-{}T{}:{}:{}", at.substr(0, 4), at.substr(4, 2), at.substr(6, 2), at.substr(9, 2),
                     at.substr(11, 2), at.substr(13));
}

}  // namespace

S3Error invalid_request(const std::string& message) { return {400, "InvalidRequest", message}; }

S3Error not_implemented(const std::string& what) {
  return {501, "NotImplemented", "This version of Athanor does not implement " + what + "."};
}

S3Error malformed_xml() {
  return {400, "MalformedXML",
          "The XML you provided was not well-formed or did not validate against our published schema"};
}

S3Error signature_error(const Authentication& failed, const std::string& region, std::int64_t now_ms) {
  const bool is_v2 = failed.claim.form == wire::SignatureClaim::Form::kQueryV2;
  const bool in_query = is_v2 || failed.claim.form == wire::SignatureClaim::Form::kQuery;
  const std::string& detail = failed.verdict.detail;
  const auto malformed = [&](const std::string& what, S3Error::Details details = {}) {
    if (in_query) return S3Error(400, "AuthorizationQueryParametersError", what, std::move(details));
    return S3Error(400, "AuthorizationHeaderMalformed", "The authorization header is malformed; " + what,
                   std::move(details));
  };
  switch (failed.fault) {
    case AuthenticationFault::kNone:
    case AuthenticationFault::kSignature: break;
    case AuthenticationFault::kUnknownKey:
      return {403,
              "InvalidAccessKeyId",
              "The AWS Access Key Id you provided does not exist in our records.",
              {{"AWSAccessKeyId", failed.claim.access_key_id}}};
    case AuthenticationFault::kInvalidToken:
      return {400, "InvalidToken", "The provided token is malformed or otherwise invalid."};
    case AuthenticationFault::kExpiredToken: return {400, "ExpiredToken", "The provided token has expired."};
  }
  const std::string server_time = error_date(wire::format_amz_date(now_ms));
  const auto too_skewed = [&] {
    return S3Error(403, "RequestTimeTooSkewed",
                   "The difference between the request time and the current time is too large.",
                   {{"RequestTime", failed.claim.amz_date},
                    {"ServerTime", server_time},
                    {"MaxAllowedSkewMilliseconds", std::to_string(wire::kSkewMax_ms)}});
  };
  switch (failed.verdict.fault) {
    case SignatureFault::kMissing: return {403, "AccessDenied", "Access Denied"};
    case SignatureFault::kUnsupportedAlgorithm:
      return invalid_request(
          "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.");
    case SignatureFault::kIncomplete:
      if (is_v2) return {403, "AccessDenied", detail};
      return malformed(detail);
    case SignatureFault::kMalformedCredential:
      return malformed("the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".");
    case SignatureFault::kMalformedDate:
      if (in_query) return malformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"");
      return {403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header"};
    case SignatureFault::kMalformedExpires:
      if (is_v2) return {403, "AccessDenied", "Invalid date (should be seconds since epoch): " + detail};
      return malformed("X-Amz-Expires must be a number of seconds, at least 0 and less than a week (604800), not '" +
                       detail + "'");
    case SignatureFault::kScopeDate:
      return malformed("Invalid credential date \"" + failed.claim.scope.date +
                       "\". This date is not the same as X-Amz-Date.");
    case SignatureFault::kScopeRegion:
      return malformed(fmt::format("the region '{}' is wrong; expecting '{}'", detail, region), {{"Region", region}});
    case SignatureFault::kScopeService:
      return malformed(fmt::format("incorrect service \"{}\". This endpoint belongs to \"s3\".", detail));
    case SignatureFault::kScopeTerminator:
      return malformed(fmt::format("incorrect terminal \"{}\". This endpoint uses \"aws4_request\".", detail));
    case SignatureFault::kUnsignedHeader:
      return {403,
              "AccessDenied",
              "There were headers present in the request which were not signed",
              {{"HeadersNotSigned", detail}}};
    case SignatureFault::kExpired:
      if (in_query) return {403, "AccessDenied", "Request has expired", {{"ServerTime", server_time}}};
      return too_skewed();
    case SignatureFault::kNotYetValid:
      if (in_query) return {403, "AccessDenied", "Request is not valid yet", {{"ServerTime", server_time}}};
      return too_skewed();
    case SignatureFault::kPayloadMissing:
      return invalid_request("Missing required header for this request: x-amz-content-sha256");
    case SignatureFault::kPayloadInvalid:
      return invalid_argument(
          "x-amz-content-sha256", detail,
          "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
          "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid "
          "sha256 value.");
    case SignatureFault::kNone:
    case SignatureFault::kMismatch: break;
  }
  S3Error::Details details = {{"AWSAccessKeyId", failed.claim.access_key_id},
                              {"StringToSign", failed.verdict.to_sign},
                              {"SignatureProvided", failed.claim.signature},
                              {"StringToSignBytes", spaced_hex(failed.verdict.to_sign)}};
  if (!is_v2) {
    details.emplace_back("CanonicalRequest", failed.verdict.canonical);
    details.emplace_back("CanonicalRequestBytes", spaced_hex(failed.verdict.canonical));
  }
  return {403, "SignatureDoesNotMatch",
          "The request signature we calculated does not match the signature you provided. Check your key and signing "
          "method.",
          std::move(details)};
}

S3Error to_s3_error(const std::exception_ptr& thrown, const std::string& request_id) {
  try {
    std::rethrow_exception(thrown);
  } catch (const S3Error& error) {
    return error;
  } catch (const storage::StoreError& error) {
    return store_error(error);
  } catch (const wire::BodyError& error) {
    return body_error(error);
  } catch (const Error& error) {
    return by_kind(error, request_id);
  } catch (const std::exception& error) {
    log::error("s3", "{}: {}", request_id, error.what());
    return {500, "InternalError", "We encountered an internal error. Please try again."};
  }
}

wire::Response s3_error_response(const S3Error& error, const std::string& resource, const std::string& request_id,
                                 bool head) {
  wire::Response response;
  response.status = error.status();
  response.headers.set("x-amz-request-id", request_id);
  for (const auto& [name, value] : error.details()) {
    if (name == "Region") response.headers.set("x-amz-bucket-region", value);
  }
  if (error.status() == 304) return response;
  response.headers.set("Content-Type", "application/xml");
  if (head) {
    response.head_only = true;
    return response;
  }
  std::string& text = response.body;
  text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>";
  const auto element = [&](std::string_view name, std::string_view value) {
    text.append("<").append(name).append(">").append(escape_xml(value)).append("</").append(name).append(">");
  };
  element("Code", error.code());
  element("Message", error.what());
  for (const auto& [name, value] : error.details()) element(name, value);
  element("Resource", resource);
  element("RequestId", request_id);
  element("HostId", request_id);
  text += "</Error>";
  return response;
}

}  // namespace athanor::api
