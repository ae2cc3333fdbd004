// Any bytes as another store's reply: read or refused, nothing else.
#include "common/error.h"
#include "platform/storage/s3_client_core.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace athanor;
  wire::ClientResponse response;
  response.body.assign(reinterpret_cast<const char*>(data), size);
  storage::error_text(response);
  try {
    storage::read_listing(response, "listing");
  } catch (const Error&) {
  }
  try {
    storage::read_upload_id(response, "beginning an upload");
  } catch (const Error&) {
  }
  return 0;
}
