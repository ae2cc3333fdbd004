// A line of a JSONL file from anywhere: refused, or an example and a preference that have something to learn.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/error.h"
#include "engine/data/example.h"
#include "engine/data/preference.h"

namespace {

using namespace athanor::data;

void check(const Example& example) {
  if (const auto* chat = std::get_if<Conversation>(&example)) {
    ATHANOR_ASSERT(chat->answers_from < chat->messages.size());
    ATHANOR_ASSERT(std::any_of(chat->messages.begin() + static_cast<std::ptrdiff_t>(chat->answers_from),
                               chat->messages.end(),
                               [](const Message& message) { return message.role == "assistant"; }));
  } else if (const auto* text = std::get_if<Text>(&example)) {
    ATHANOR_ASSERT(!text->text.empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  try {
    const Example example = parse_example(line, "input");
    check(example);
    if (const auto* pair = std::get_if<Completion>(&example)) ATHANOR_ASSERT(!pair->completion.empty());
  } catch (const athanor::Error& error) {
    ATHANOR_ASSERT(error.kind() == athanor::ErrorKind::kInvalid);
  }
  try {
    const Preference pair = parse_preference(line, "input");
    check(pair.chosen);
    check(pair.rejected);
    ATHANOR_ASSERT(pair.chosen != pair.rejected);
  } catch (const athanor::Error& error) {
    ATHANOR_ASSERT(error.kind() == athanor::ErrorKind::kInvalid);
  }
  return 0;
}
