// Memory that one thread writes out as it is now while another goes on to change it: copy on write, in software.
//
// Training changes parameters and moments only in the update, at the end of a step. Until then the writer reads them where
// they are, for nothing. What it has not read when the update comes is copied into `room` first, or, without room, the
// update waits for the writer. So a checkpoint that is written within a step costs no copy.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

namespace athanor::train {

class Snapshot {
 public:
  // `room` is empty, or as large as all parts together. Both outlive the snapshot.
  Snapshot(std::vector<std::span<const char>> parts, std::span<char> room);

  // From here the parts are read as they are now. Nobody may be reading.
  void begin();
  // The writer: into.size() bytes that were at `from` at begin(). Places only rise, in the order of the parts.
  void read(const char* from, std::span<char> into);
  // The writer: it needs no more, whether it read all or not.
  void end();

  // The owner, before it changes any of the parts: returns when they are free. `copy` copies many bytes, on as many
  // threads as there are to spare. Nothing is done when no snapshot is taken, or this one is free already.
  void free_parts(const std::function<void(char* to, const char* from, std::size_t size)>& copy);

 private:
  enum class State {
    kIdle,     // nobody reads
    kInPlace,  // the writer reads the parts
    kCopied,   // the writer reads the room
  };
  // Where `from` lies among all bytes of the parts.
  std::size_t place_of(const char* from, std::size_t size) const;

  const std::vector<std::span<const char>> parts_;
  const std::span<char> room_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  State state_ = State::kIdle;
  bool reading_ = false;  // the writer is copying a piece out of the parts just now
  std::size_t next_ = 0;  // bytes before it are not needed any more
};

}  // namespace athanor::train
