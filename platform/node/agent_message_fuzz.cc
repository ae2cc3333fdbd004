// Anything as a message of the server's: understood or refused, nothing else.
#include <cstddef>
#include <cstdint>

#include "common/error.h"
#include "platform/node/messages.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    athanor::node::decode(bytes);
  } catch (const athanor::Error&) {
  }
  return 0;
}
