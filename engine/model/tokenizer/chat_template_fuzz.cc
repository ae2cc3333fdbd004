// A chat template from anywhere: it is refused, or what it writes has its answers inside. Memory that runs out is no refusal.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/error.h"
#include "engine/model/tokenizer/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace athanor;
  static const json::array messages =
      json::parse(
          R"([{"role":"system","content":"Be é."},{"role":"user","content":" q "},{"role":"assistant","content":"a\n","tool_calls":[{"name":"f"}]},
          {"role":"user","content":"r"},{"role":"assistant","content":"<think>t</think>b"}])",
          "messages")
          .as_array();
  if (size > 4096) return 0;
  try {
    const model::ChatTemplate chat_template(std::string_view(reinterpret_cast<const char*>(data), size));
    model::ChatOptions options;
    options.specials = {"<|im_end|>"};
    const model::RenderedChat chat = chat_template.render(messages, options);
    for (const model::ChatSpan& span : chat.answers) {
      ATHANOR_ASSERT(span.begin <= span.end && span.end <= chat.text.size());
    }
  } catch (const Error&) {
    // Refused, with a reason.
  }
  return 0;
}
