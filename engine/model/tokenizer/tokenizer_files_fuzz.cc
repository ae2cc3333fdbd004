// The files of a checkpoint's tokenizer from anywhere, as one process hands them to another: refused, or read the same again.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/error.h"
#include "engine/model/tokenizer/tokenizer_files.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace athanor;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  try {
    const model::Tokenizer tokenizer = model::unpack_tokenizer(input);
    const std::string packed = model::pack_tokenizer(tokenizer);
    ATHANOR_ASSERT(model::pack_tokenizer(model::unpack_tokenizer(packed)) == packed);
    (void)tokenizer.encode(input.substr(0, 2048), {.with_specials = true});
  } catch (const Error&) {
    // Refused, with a reason.
  }
  return 0;
}
