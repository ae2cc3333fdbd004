#include "platform/control/reasons.h"

#include <fmt/format.h>

#include <array>

#include "common/utf8.h"

namespace athanor::control {
std::string clip(std::string_view text, std::size_t characters_max) {
  std::string result;
  for (std::size_t count = 0; !text.empty() && count < characters_max; ++count) {
    const Utf8Step step = utf8_step(text);
    if (!step.is_character) {
      result += '?';
      text.remove_prefix(1);
    } else {
      result += text.substr(0, step.bytes);
      text.remove_prefix(step.bytes);
    }
  }
  return result;
}

std::string algorithm_error(std::uint32_t index, const Exit& exit) {
  std::string tail = fmt::format(", exit code: {}", exit.code);
  if (exit.code > 128 && exit.code <= 128 + 64) tail += fmt::format(" (signal {})", exit.code - 128);
  std::string head = "AlgorithmError: ";
  const std::size_t room = kFailureReasonCharactersMax - count_characters(head) - count_characters(tail);
  head += exit.failure.empty() ? fmt::format("algo-{} failed and wrote no /opt/ml/output/failure", index + 1)
                               : clip(exit.failure, room);
  return head + tail;
}

std::string lost_agent(std::uint32_t index, std::string_view why) {
  return clip(fmt::format("InternalServerError: the agent of algo-{} was lost: {}", index + 1, why),
              kFailureReasonCharactersMax);
}

std::string with_prefix(std::string_view reason) {
  static constexpr std::array<std::string_view, 4> kPrefixes = {"AlgorithmError: ", "ClientError: ",
                                                                "InternalServerError: ", "CapacityError: "};
  for (const auto prefix : kPrefixes) {
    if (reason.starts_with(prefix)) return clip(reason, kFailureReasonCharactersMax);
  }
  return clip(fmt::format("InternalServerError: {}", reason), kFailureReasonCharactersMax);
}

}  // namespace athanor::control
