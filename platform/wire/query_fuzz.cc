// Escapes and queries: what is encoded decodes to itself, and what was parsed and written anew parses to the same.
#include <cstdlib>

#include "common/error.h"
#include "platform/wire/http.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace athanor::wire;
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (percent_decode(percent_encode(text, false)) != text) std::abort();
  if (percent_decode(percent_encode(text, true)) != text) std::abort();
  try {
    const auto query = parse_query(text);
    std::string again;
    for (const auto& [key, value] : query) {
      again += (again.empty() ? "" : "&") + percent_encode(key, false) + "=" + percent_encode(value, false);
    }
    if (parse_query(again) != query) std::abort();
  } catch (const athanor::Error&) {
  }
  return 0;
}
