// One log stream on disk (see log_store.h).
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "common/files.h"
#include "platform/storage/log_records.h"
#include "platform/storage/logs.h"

namespace athanor::storage {

// Any thread.
class LogStreamFile {
 public:
  static constexpr std::uint64_t kEventsPerBlock = 64;

  // Reads what is in `folder`, and cuts off what a crash left half-written.
  // `first_sender` may be empty: not known.
  LogStreamFile(std::string folder, std::string name, std::string first_sender, std::int64_t created_ms, Files& files);

  // As Logs::append.
  std::uint64_t append(const std::string& sender, std::uint64_t source_offset, std::uint64_t source_end,
                       const std::vector<LogEvent>& events, std::int64_t now_ms);
  LogStream describe() const;
  std::vector<LogEvent> read(std::uint64_t position, std::size_t count, std::size_t bytes_max) const;
  std::uint64_t seek(std::int64_t timestamp_ms) const;
  const std::string& folder() const { return folder_; }

 private:
  struct Block {
    std::uint64_t offset = 0;
    std::int64_t latest_ms_before = INT64_MIN;
  };
  // Everything up to a point of the file.
  struct Extent {
    std::uint64_t end = 0;    // bytes of `events`
    std::uint64_t count = 0;  // events
    std::uint64_t taken = 0;  // the sender's position, counted on from its predecessors'
    std::int64_t latest_ms = INT64_MIN;
    std::int64_t first_event_ms = 0;
    std::int64_t last_event_ms = 0;
    std::int64_t last_ingestion_ms = 0;

    std::size_t blocks() const { return static_cast<std::size_t>((count + kEventsPerBlock - 1) / kEventsPerBlock); }
  };

  void recover();
  void begin_sender(const std::string& sender);  // with mutex_ held
  std::vector<Block> read_index(std::uint64_t size);
  void scan(File& file, std::uint64_t size);
  void account(Extent& extent, const LogRecord& record);  // adds to blocks_ too
  std::string encode(const std::vector<LogEvent>& events, std::size_t from, std::uint64_t source_end,
                     std::int64_t now_ms, Extent& extent);
  void write_index(std::size_t from_block, std::size_t to_block);
  // Calls `take` for each durable event from `position` on until it returns false.
  template <typename Take>
  void walk(std::uint64_t position, const Take& take) const;

  const std::string folder_;
  const std::string name_;
  const std::int64_t created_ms_;
  Files& files_;

  std::mutex sync_mutex_;  // held while the device is waited for; taken before the other
  mutable std::mutex mutex_;
  std::string sender_;             // guarded by mutex_
  std::uint64_t sender_base_ = 0;  // guarded by mutex_: where its position 0 is among all senders'
  Extent written_;                 // guarded by mutex_: handed to the system
  Extent published_;               // guarded by mutex_: durable
  std::vector<Block> blocks_;      // guarded by mutex_: of what is written; the first ones of what is published
  std::uint64_t setbacks_ = 0;     // guarded by mutex_: how often written data was given up
};

}  // namespace athanor::storage
