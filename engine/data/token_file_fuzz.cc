// A token file's first bytes from anywhere: refused, or a header that fits the file.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/error.h"
#include "engine/data/token_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using athanor::data::TokenFileHeader;
  try {
    const TokenFileHeader header =
        athanor::data::parse_token_file_header({reinterpret_cast<const char*>(data), size}, size, "input");
    ATHANOR_ASSERT(header.id_bytes == 2 || header.id_bytes == 4);
    ATHANOR_ASSERT(header.vocabulary > 0);
    ATHANOR_ASSERT(static_cast<std::uint64_t>(header.count) * header.id_bytes + TokenFileHeader::kBytes == size);
  } catch (const athanor::Error&) {
    // Refused, with what was found.
  }
  return 0;
}
