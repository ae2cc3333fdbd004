// A program's output: however its bytes arrive, the lines are the same, valid UTF-8, and none is too long. The first
// byte of the input is the size of the pieces.
#include <cstdlib>

#include "platform/node/output_lines.h"

namespace {

std::vector<std::string> lines_of(std::string_view bytes, std::size_t piece) {
  athanor::node::OutputLines output;
  std::vector<std::string> lines;
  const auto take = [&lines](std::vector<std::string> more) {
    lines.insert(lines.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  };
  for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size()))) take(output.feed(bytes.substr(0, piece)));
  take(output.flush());
  return lines;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using athanor::node::OutputLines;
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto lines = lines_of(bytes, bytes.size() + 1);
  if (lines_of(bytes, 1U + data[0]) != lines) std::abort();
  for (const std::string& line : lines) {
    if (line.size() > OutputLines::kLineBytesMax || athanor::node::to_utf8(line) != line) std::abort();
  }
  return 0;
}
