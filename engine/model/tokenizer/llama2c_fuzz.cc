// A llama2.c tokenizer from anywhere: it is refused, or any text comes back from its tokens.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/error.h"
#include "engine/model/tokenizer/llama2c.h"
#include "engine/model/tokenizer/tokenizer_json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace athanor;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  try {
    const model::Tokenizer tokenizer(model::tokenizer_parts_from_llama2c(input, "input"));
    const std::string_view text = input.substr(0, 2048);
    const auto tokens = tokenizer.encode(text, {.specials_in_text = false});
    ATHANOR_ASSERT(tokenizer.decode(tokens) == text);
  } catch (const Error&) {
    // Refused, with a reason.
  }
  return 0;
}
