#include "platform/control/reasons.h"

#include <fmt/format.h>

#include <array>

namespace athanor::control {
namespace {

// Bytes of the well-formed UTF-8 character at the front of `text`; 0 when there is none.
std::size_t character_bytes(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t bytes = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (bytes == 0 || bytes > text.size()) return 0;
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return 0;
  }
  return bytes;
}

std::size_t count_characters(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

}  // namespace

std::string clip(std::string_view text, std::size_t characters_max) {
  std::string result;
  for (std::size_t count = 0; !text.empty() && count < characters_max; ++count) {
    const std::size_t bytes = character_bytes(text);
    if (bytes == 0) {
      result += '?';
      text.remove_prefix(1);
    } else {
      result += text.substr(0, bytes);
      text.remove_prefix(bytes);
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
