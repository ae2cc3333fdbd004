#include "engine/data/json_lines.h"

#include <span>

#include "common/error.h"

namespace athanor::data {

namespace {

constexpr std::size_t kPieceBytes = 4 << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

void for_each_line(Files& files, const std::string& path,
                   const std::function<void(std::string_view line, const std::string& source)>& line) {
  const auto file = files.open(path, Files::Open::kRead);
  std::string pending;  // what has been read of lines that have not been given out
  std::uint64_t read = 0;
  std::int64_t number = 0;
  const auto give = [&](std::string_view text) {
    if (++number == 1 && text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    if (text.find_first_not_of(" \t\r") != text.npos) line(text, fmt::format("{}, line {}", path, number));
  };
  for (bool ended = false; !ended;) {
    const std::size_t had = pending.size();
    pending.resize(had + kPieceBytes);
    const std::size_t got = file->read_at(read, std::span(pending).subspan(had));
    pending.resize(had + got);
    read += got;
    ended = got == 0;
    std::size_t begin = 0;
    for (std::size_t end = pending.find('\n', had); end != pending.npos; end = pending.find('\n', begin)) {
      give(std::string_view(pending).substr(begin, end - begin));
      begin = end + 1;
    }
    pending.erase(0, begin);
    if (pending.size() > kLineBytesMax) {
      throw Error(ErrorKind::kInvalid, "{}, line {}: it has more than {} MiB; is this a file of one JSON value a line?",
                  path, number + 1, kLineBytesMax >> 20);
    }
  }
  if (!pending.empty()) give(pending);
}

}  // namespace athanor::data
