// AWS Signature Version 2 of S3, the server's end, in queries alone: the presigned URLs that boto3 makes in some regions unless told
// otherwise. In the Authorization header it is not accepted. It promises nothing of a body but what Content-MD5 says.
//
// Specification: "Authenticating Requests (AWS signature version 2)" in the S3 user guide, its query string alternative.
// Checked against botocore (HmacV1QueryAuth) and the published example.
#pragma once

#include <string_view>

#include "platform/wire/http.h"
#include "platform/wire/sigv4_verify.h"

namespace athanor::wire {

// Whether the query claims such a signature, be it whole or in part.
bool has_v2_query(const Request& request);
// AWSAccessKeyId, Signature, Expires.
void read_v2_query(const Request& request, SignatureClaim& claim);
// As verify_signature, of a claim without fault.
SignatureVerdict verify_v2_query(const Request& request, const SignatureClaim& claim,
                                 std::string_view secret_access_key, const VerifyOptions& options);
// Headers that travel in the query (Content-Type, Content-MD5, x-amz-…) are signed as headers and mean what headers mean: they
// become headers, and the signature's own parameters go. For a request that was verified.
void take_up_v2_query(Request& request);

}  // namespace athanor::wire
