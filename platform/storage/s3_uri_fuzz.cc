// Any text as s3://BUCKET/KEY: refused, or the same again when it is written and read.
#include <cstdlib>

#include "common/error.h"
#include "platform/storage/s3_uri.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using athanor::storage::S3Uri;
  try {
    const S3Uri uri = S3Uri::parse({reinterpret_cast<const char*>(data), size});
    const S3Uri again = S3Uri::parse(uri.text());
    if (again.bucket != uri.bucket || again.key != uri.key) std::abort();
  } catch (const athanor::Error&) {
  }
  return 0;
}
