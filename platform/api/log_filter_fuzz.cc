// The first line of the input as a filter pattern, the rest as the message that it is held against.
#include "platform/api/log_filter.h"
#include "platform/api/service_error.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(input.find('\n'), input.size());
  try {
    athanor::api::LogFilter(input.substr(0, end)).matches(input.substr(end));
  } catch (const athanor::api::ServiceError&) {
  }
  return 0;
}
