// How log events lie in a file. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "platform/storage/logs.h"

namespace athanor::storage {

inline constexpr std::size_t kLogRecordHeadBytes = 32;
inline constexpr std::size_t kLogMessageBytesMax = 1 << 20;
inline constexpr std::uint64_t kNotEndOfBatch = UINT64_MAX;

struct LogRecord {
  std::int64_t timestamp_ms = 0;
  std::int64_t ingestion_ms = 0;
  std::uint64_t source_end = kNotEndOfBatch;  // the sender's position after the batch that this record ends
  std::string_view message;

  std::size_t bytes() const { return kLogRecordHeadBytes + message.size(); }
};

void append_log_record(const LogRecord& record, std::string& to);
// The record at the start of `bytes`, its message a view into them; nothing when it is incomplete or damaged.
std::optional<LogRecord> read_log_record(std::string_view bytes);

}  // namespace athanor::storage
