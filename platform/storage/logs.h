// Log events of training jobs, by group and stream: a file each that only grows, with an index. What append()
// acknowledged survives kill -9 and power loss. Behind CloudWatch Logs' API and the agents' links. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace athanor::storage {

struct LogEvent {
  std::int64_t timestamp_ms = 0;
  std::int64_t ingestion_ms = 0;
  std::string message;
  std::uint64_t position = 0;  // index of the event within its stream: 0, 1, …
};

struct LogStream {
  std::string name;
  std::int64_t created_ms = 0;
  std::optional<std::int64_t> first_event_ms;
  std::optional<std::int64_t> last_event_ms;
  std::optional<std::int64_t> last_ingestion_ms;
  std::uint64_t events = 0;
  std::uint64_t bytes = 0;
};

class Logs {
 public:
  virtual ~Logs() = default;
  // Appends, making group and stream when absent. `source_offset`/`source_end` are positions in the spool of `sender`:
  // events that start before what was already taken are dropped, so that a sender may repeat after a break (where each
  // starts is told from the messages' sizes: the spool must add equally many bytes to each, a newline say). A stream has
  // one sender at a time; another one, whose spool begins at 0, goes on behind what is there. Returns the spool position
  // up to which everything is durable (group commit: it may wait a few milliseconds for company). Throws kExhausted when
  // the disk is full; nothing is then kept.
  virtual std::uint64_t append(const std::string& group, const std::string& stream, const std::string& sender,
                               std::uint64_t source_offset, std::uint64_t source_end,
                               const std::vector<LogEvent>& events) = 0;
  virtual bool has_group(const std::string& group) const = 0;
  virtual std::vector<std::string> groups() const = 0;
  // Streams whose name starts with `prefix`, by name.
  virtual std::vector<LogStream> streams(const std::string& group, std::string_view prefix) const = 0;
  // Up to `count` events from `position` on, at most `bytes_max` of messages; kNotFound when there is no such stream.
  virtual std::vector<LogEvent> read(const std::string& group, const std::string& stream, std::uint64_t position,
                                     std::size_t count, std::size_t bytes_max) const = 0;
  // The position of the first event at or after `timestamp_ms` (events are in order of arrival; an index by time).
  virtual std::uint64_t seek(const std::string& group, const std::string& stream, std::int64_t timestamp_ms) const = 0;
};

}  // namespace athanor::storage
