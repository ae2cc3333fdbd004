// The job's output on disk until the server has it: lines are appended here before they are sent, and dropped once the
// server says that they are durable there. An offset counts the spool's bytes since the job began; lines keep theirs.
//
// Segments of 8 MiB, FOLDER/NUMBER, each named by the offset of its first byte. Not synced: if this machine loses power
// the job is lost anyway. One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "common/files.h"
#include "platform/node/messages.h"

namespace athanor::node {

class Spool {
 public:
  static constexpr std::uint64_t kSegmentBytes = 8 << 20;

  // Makes the folder. `bytes_max` bounds what is kept on disk.
  Spool(Files& files, std::string folder, std::uint64_t bytes_max);

  // Appends all or, when it throws (kExhausted: the disk is full), nothing.
  void append(const std::vector<LogLine>& lines);
  // Nothing more should be appended until lines are acknowledged.
  bool full() const { return end_ - acknowledged_ >= bytes_max_; }

  struct Batch {
    std::vector<LogLine> lines;  // whole ones
    std::uint64_t end_offset = 0;
  };
  // Lines from `offset` (the start of a line) on: some `bytes_max` bytes, at least one line unless at the end.
  Batch read(std::uint64_t offset, std::size_t bytes_max);
  // Everything before `offset` may go. What is beyond the end or behind an earlier word is ignored.
  void acknowledge(std::uint64_t offset);
  // Removes all that is not acknowledged, as if it were; returns how many bytes that was.
  std::uint64_t give_up();

  std::uint64_t end() const { return end_; }
  std::uint64_t acknowledged() const { return acknowledged_; }

 private:
  struct Segment {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    std::unique_ptr<File> file;
    std::string path;
  };

  Files& files_;
  const std::string folder_;
  const std::uint64_t bytes_max_;
  std::deque<Segment> segments_;  // the last is written
  std::uint64_t end_ = 0;
  std::uint64_t acknowledged_ = 0;
};

}  // namespace athanor::node
