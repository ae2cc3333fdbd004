// Any text as the address of a server: refused, or the same again when it is written and read.
#include <cstdlib>

#include "common/error.h"
#include "platform/wire/http_client.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using athanor::wire::Endpoint;
  Endpoint endpoint;
  try {
    endpoint = Endpoint::parse({reinterpret_cast<const char*>(data), size});
  } catch (const athanor::Error&) {
    return 0;
  }
  const Endpoint again = Endpoint::parse(endpoint.url());
  if (again.secure != endpoint.secure || again.host != endpoint.host || again.port != endpoint.port) std::abort();
  return 0;
}
