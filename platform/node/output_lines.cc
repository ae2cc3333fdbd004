#include "platform/node/output_lines.h"

namespace athanor::node {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// Length of the well-formed sequence at the start of `bytes`; 0 when there is none, and then `maximal` is how many
// bytes one replacement stands for (Unicode 15, table 3-7, "maximal subpart").
std::size_t sequence_length(std::string_view bytes, std::size_t& maximal) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  maximal = 1;
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  std::size_t length = 0;
  unsigned least = 0x80;
  unsigned most = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) least = 0xA0;
    if (lead == 0xED) most = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) least = 0x90;
    if (lead == 0xF4) most = 0x8F;
  } else {
    return 0;
  }
  for (std::size_t i = 1; i < length; ++i) {
    if (i >= bytes.size() || byte(i) < least || byte(i) > most) {
      maximal = i;
      return 0;
    }
    least = 0x80;
    most = 0xBF;
  }
  return length;
}

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
  std::size_t at = 0;
  while (at < bytes.size()) {
    std::size_t maximal = 1;
    const std::size_t length = sequence_length(bytes.substr(at), maximal);
    if (length > 0) {
      result.append(bytes.substr(at, length));
      at += length;
    } else {
      result.append(kReplacement);
      at += maximal;
    }
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
