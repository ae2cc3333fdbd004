#include "platform/storage/log_records.h"

#include <cstring>

#include "common/error.h"
#include "platform/storage/crc.h"

namespace athanor::storage {

namespace {

template <typename T>
void put(T value, std::string& to) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  to.append(bytes, sizeof(T));
}

template <typename T>
T get(std::string_view from, std::size_t at) {
  T value;
  std::memcpy(&value, from.data() + at, sizeof(T));
  return value;
}

}  // namespace

// length: 4, checksum of all that follows it: 4, timestamp: 8, ingestion: 8, source_end: 8, message
void append_log_record(const LogRecord& record, std::string& to) {
  ATHANOR_ASSERT(record.message.size() <= kLogMessageBytesMax);
  const std::size_t begin = to.size();
  put(static_cast<std::uint32_t>(record.message.size()), to);
  put(std::uint32_t{0}, to);
  put(record.timestamp_ms, to);
  put(record.ingestion_ms, to);
  put(record.source_end, to);
  to.append(record.message);
  const auto checksum = static_cast<std::uint32_t>(crc_update(kCrc32c, 0, std::string_view(to).substr(begin + 8)));
  std::memcpy(to.data() + begin + 4, &checksum, sizeof(checksum));
}

std::optional<LogRecord> read_log_record(std::string_view bytes) {
  if (bytes.size() < kLogRecordHeadBytes) return std::nullopt;
  const auto length = get<std::uint32_t>(bytes, 0);
  if (length > kLogMessageBytesMax || bytes.size() - kLogRecordHeadBytes < length) return std::nullopt;
  const auto covered = bytes.substr(8, kLogRecordHeadBytes - 8 + length);
  if (get<std::uint32_t>(bytes, 4) != static_cast<std::uint32_t>(crc_update(kCrc32c, 0, covered))) return std::nullopt;
  return LogRecord{get<std::int64_t>(bytes, 8), get<std::int64_t>(bytes, 16), get<std::uint64_t>(bytes, 24),
                   bytes.substr(kLogRecordHeadBytes, length)};
}

}  // namespace athanor::storage
