// Any bytes as an STS form: answered, or refused in the service's words.
#include "platform/api/sts.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace athanor::api;
  try {
    sts_reply({reinterpret_cast<const char*>(data), size}, {"000000000000", "arn:aws:iam::000000000000:root", "AIDA"},
              "id");
  } catch (const ServiceError& error) {
    sts_error(error, "id");
  }
  return 0;
}
