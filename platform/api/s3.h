// The S3 front: REST-XML over the embedded object store. Path style (/bucket/key), and virtual-host style when the Host
// is BUCKET.s3.REGION.amazonaws.com. Reference: the Amazon S3 API reference, version 2006-03-01.
#pragma once

#include <memory>
#include <string>

#include "platform/api/authentication.h"
#include "platform/storage/object_store.h"
#include "platform/wire/http.h"

namespace athanor::api {

class S3 {
 public:
  struct Options {
    std::string region = "us-east-1";
    std::string account = "000000000000";  // owner of every bucket
    int worker_threads = 3;                // for disks and hashes
  };

  // `store` outlives this. The destructor does what finish() does; no request may be left.
  S3(storage::ObjectStore& store, Options options);
  ~S3();
  S3(const S3&) = delete;
  S3& operator=(const S3&) = delete;

  // Answers every request, the refused ones with S3's own XML; `authentication` is the verdict on its signature, good
  // or bad. Any thread; resumes on the caller's executor and does not block it.
  wire::Awaitable<wire::Response> handle(wire::Request request, Authentication authentication);

  // Waits for what the workers are doing; afterwards they wake no request any more. No request may come after it, nor
  // any that is left go on.
  void finish();

 private:
  struct Core;
  std::unique_ptr<Core> core_;
};

}  // namespace athanor::api
