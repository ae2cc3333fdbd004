// Any bytes as a safetensors file: refused, or every tensor lies inside the file.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/error.h"
#include "engine/model/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  try {
    const auto header = athanor::model::parse_safetensors_header(input, size, "input");
    for (const auto& entry : header.entries) {
      ATHANOR_ASSERT(entry.begin <= entry.end && header.data_begin + entry.end <= size);
    }
  } catch (const athanor::Error&) {
    // Refused, with a reason.
  }
  return 0;
}
