// A sentencepiece model from anywhere, and one whose normalizer's table is from anywhere: refused, or it encodes a text.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/error.h"
#include "engine/model/tokenizer/sentencepiece.h"

namespace {

std::string field(char key, std::string_view bytes) {
  std::string made(1, key);
  for (std::size_t size = bytes.size();; size >>= 7) {
    made += static_cast<char>((size & 0x7f) | (size > 0x7f ? 0x80 : 0));
    if (size <= 0x7f) return made.append(bytes);
  }
}

void encode(std::string_view model, std::string_view text) {
  using namespace athanor;
  try {
    (void)model::Tokenizer(model::tokenizer_parts_from_sentencepiece(model, "input")).encode(text);
  } catch (const Error&) {
    // Refused, with a reason.
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  encode(input, input.substr(0, 512));
  // Pieces 1 (the unknown one of kind 2, and "a"), the trainer's 2 (BPE), the normalizer's 3 with its table.
  encode(field('\x0a', field('\x0a', "<unk>") + "\x18\x02") + field('\x0a', field('\x0a', "a")) +
             field('\x12', "\x18\x02") + field('\x1a', field('\x12', input)),
         input.substr(0, 512));
  return 0;
}
