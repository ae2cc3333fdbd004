// Anything on the contract's socket: parsed or refused, nothing else.
#include <cstddef>
#include <cstdint>

#include "common/error.h"
#include "platform/node/extension_message.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    athanor::node::parse_extension_message({reinterpret_cast<const char*>(data), size});
  } catch (const athanor::Error&) {
  }
  return 0;
}
