#include "platform/node/output_lines.h"

#include "common/utf8.h"

namespace athanor::node {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// At most `most`, and not inside a character.
std::size_t cut_before(std::string_view bytes, std::size_t most) {
  if (bytes.size() <= most) return bytes.size();
  std::size_t at = most;
  for (int back = 0; back < 3 && at > 0 && (static_cast<unsigned char>(bytes[at]) & 0xC0) == 0x80; ++back) --at;
  return (static_cast<unsigned char>(bytes[at]) & 0xC0) == 0x80 ? most : at;
}

}  // namespace

std::string to_utf8(std::string_view bytes) {
  std::string result;
  result.reserve(bytes.size());
  while (!bytes.empty()) {
    const Utf8Step step = utf8_step(bytes);
    result.append(step.is_character ? bytes.substr(0, step.bytes) : kReplacement);
    bytes.remove_prefix(step.bytes);
  }
  return result;
}

std::vector<std::string> OutputLines::feed(std::string_view bytes) {
  std::vector<std::string> lines;
  while (!bytes.empty()) {
    const std::size_t newline = bytes.find('\n');
    const std::size_t take = newline == std::string_view::npos ? bytes.size() : newline;
    partial_.append(bytes.substr(0, take));
    while (partial_.size() > kLineBytesMax) {
      const std::size_t cut = cut_before(partial_, kLineBytesMax);
      lines.push_back(to_utf8(std::string_view(partial_).substr(0, cut)));
      partial_.erase(0, cut);
    }
    if (newline == std::string_view::npos) break;
    lines.push_back(to_utf8(partial_));
    partial_.clear();
    bytes.remove_prefix(newline + 1);
  }
  return lines;
}

std::vector<std::string> OutputLines::flush() {
  std::vector<std::string> lines;
  if (!partial_.empty()) lines.push_back(to_utf8(partial_));
  partial_.clear();
  return lines;
}

}  // namespace athanor::node
