// The program's output, cut into lines as they come: without the newline, carriage returns kept. A line longer than
// kLineBytesMax (what a log event may hold) is cut there, never inside a character. Bytes that are not UTF-8 become U+FFFD.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace athanor::node {

class OutputLines {
 public:
  static constexpr std::size_t kLineBytesMax = 256 << 10;

  // The lines that these bytes complete.
  std::vector<std::string> feed(std::string_view bytes);
  // The last line, when it has no newline; at most one.
  std::vector<std::string> flush();

 private:
  std::string partial_;
};

// Well-formed UTF-8 (RFC 3629), each ill-formed sequence replaced by one U+FFFD as the Unicode standard recommends.
std::string to_utf8(std::string_view bytes);

}  // namespace athanor::node
