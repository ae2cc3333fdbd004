// Bodies that check what they pass on: the hash that a signature promised, the framing, signatures and trailers of
// aws-chunked. Bytes come out before the verdict on them: nothing read may count before read_some has returned 0.
//
// Specification: "Signature Calculations … Transferring Payload in Multiple Chunks" and "… with trailing headers" in
// the S3 API reference.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "common/error.h"
#include "common/hash.h"
#include "platform/wire/http.h"
#include "platform/wire/sigv4_verify.h"

namespace athanor::wire {

// What a body can be guilty of; S3 has a name for each.
class BodyError : public Error {
 public:
  enum class Fault {
    kHashMismatch,       // not the bytes that x-amz-content-sha256 promised (XAmzContentSHA256Mismatch)
    kSignatureMismatch,  // a chunk's or the trailer's signature (SignatureDoesNotMatch)
    kMalformedChunk,     // aws-chunked framing (InvalidChunkSizeError, IncompleteBody)
    kMalformedTrailer,   // (MalformedTrailerError)
    kIncomplete,         // ended early, or not x-amz-decoded-content-length bytes (IncompleteBody)
    kLengthMissing,      // no x-amz-decoded-content-length (MissingContentLength)
  };
  BodyError(Fault fault, std::string what) : Error(ErrorKind::kInvalid, std::move(what)), fault_(fault) {}
  Fault fault() const { return fault_; }

 private:
  Fault fault_;
};

class VerifiedBody : public Body {
 public:
  // Trailing headers (x-amz-checksum-…), complete once read_some has returned 0; those that x-amz-trailer announced
  // and no others.
  virtual const Headers& trailers() const = 0;
};

// The request's body as what its signature says it is: hashed, chunked, trailing or plain. Takes request.body and leaves
// an empty one. `key` is the verdict's; it is used only for signed chunks. Throws BodyError when the headers forbid it.
std::unique_ptr<VerifiedBody> open_verified_body(Request& request, const SignatureClaim& claim,
                                                 std::shared_ptr<const HmacKey> key);

}  // namespace athanor::wire
