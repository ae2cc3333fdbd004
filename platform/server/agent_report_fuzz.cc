// Anything as a message of an agent's: understood or refused, nothing else.
#include "common/error.h"
#include "platform/server/agent_messages.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  try {
    athanor::server::decode_from_agent({reinterpret_cast<const char*>(data), size});
  } catch (const athanor::Error&) {
  }
  return 0;
}
