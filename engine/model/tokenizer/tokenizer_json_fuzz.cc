// A tokenizer.json from anywhere: it is refused, or what it gives encodes and decodes any text without loss.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/error.h"
#include "engine/model/tokenizer/tokenizer_json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  try {
    const athanor::model::Tokenizer tokenizer = athanor::model::tokenizer_from_json(input, "input");
    const auto tokens = tokenizer.encode(input.substr(0, 4096));
    const std::string text = tokenizer.decode(tokens, true);
    if (tokenizer.lossless()) ATHANOR_ASSERT(text == input.substr(0, 4096));
    (void)athanor::model::tokenizer_from_json(athanor::model::tokenizer_to_json(tokenizer), "written");
  } catch (const athanor::Error&) {
    // Refused, with a reason.
  }
  return 0;
}
