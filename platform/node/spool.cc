#include "platform/node/spool.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "common/error.h"

namespace athanor::node {

namespace {

struct Head {
  std::int64_t timestamp_ms = 0;
  std::uint64_t length = 0;
};

}  // namespace

Spool::Spool(Files& files, std::string folder, std::uint64_t bytes_max)
    : files_(files), folder_(std::move(folder)), bytes_max_(bytes_max) {
  files_.make_folders(folder_, 0700);
}

void Spool::append(const std::vector<LogLine>& lines) {
  if (lines.empty()) return;
  std::string bytes;
  for (const LogLine& line : lines) {
    const Head head{line.timestamp_ms, line.text.size()};
    bytes.append(reinterpret_cast<const char*>(&head), sizeof head);
    bytes += line.text;
  }
  if (segments_.empty() || segments_.back().end - segments_.back().begin >= kSegmentBytes) {
    Segment segment;
    segment.begin = segment.end = end_;
    segment.path = fmt::format("{}/{:020}", folder_, end_);
    segment.file = files_.open(segment.path, Files::Open::kTruncate, 0600);
    segments_.push_back(std::move(segment));
  }
  Segment& segment = segments_.back();
  // At a known place: what a failed attempt left behind is overwritten by the next.
  segment.file->write_at(segment.end - segment.begin, bytes);
  segment.end += bytes.size();
  end_ = segment.end;
}

Spool::Batch Spool::read(std::uint64_t offset, std::size_t bytes_max) {
  ATHANOR_ASSERT(offset >= acknowledged_ && offset <= end_);
  Batch batch{{}, offset};
  for (const Segment& segment : segments_) {
    if (segment.end <= batch.end_offset) continue;
    ATHANOR_ASSERT(batch.end_offset >= segment.begin);
    while (batch.end_offset < segment.end && batch.end_offset - offset < bytes_max) {
      Head head;
      const std::uint64_t at = batch.end_offset - segment.begin;
      const std::size_t got = segment.file->read_at(at, {reinterpret_cast<char*>(&head), sizeof head});
      if (got != sizeof head || head.length > segment.end - batch.end_offset - sizeof head) {
        throw Error(ErrorKind::kCorrupt, "reading {}: the line at {} is damaged", segment.path, at);
      }
      LogLine line{head.timestamp_ms, std::string(head.length, '\0')};
      std::size_t done = 0;
      while (done < line.text.size()) {
        const std::size_t more = segment.file->read_at(at + sizeof head + done, std::span(line.text).subspan(done));
        if (more == 0) throw Error(ErrorKind::kCorrupt, "reading {}: it ends too early", segment.path);
        done += more;
      }
      batch.end_offset += sizeof head + head.length;
      batch.lines.push_back(std::move(line));
    }
    if (batch.end_offset - offset >= bytes_max) break;
  }
  return batch;
}

void Spool::acknowledge(std::uint64_t offset) {
  acknowledged_ = std::max(acknowledged_, std::min(offset, end_));
  // The last one is still being written.
  while (segments_.size() > 1 && segments_.front().end <= acknowledged_) {
    files_.remove(segments_.front().path);
    segments_.pop_front();
  }
}

std::uint64_t Spool::give_up() {
  const std::uint64_t given_up = end_ - acknowledged_;
  for (const Segment& segment : segments_) files_.remove(segment.path);
  segments_.clear();
  acknowledged_ = end_;
  return given_up;
}

}  // namespace athanor::node
