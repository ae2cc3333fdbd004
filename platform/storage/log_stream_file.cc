#include "platform/storage/log_stream_file.h"

#include <algorithm>
#include <cstring>

#include "common/error.h"
#include "common/json.h"

namespace athanor::storage {

namespace {

constexpr std::size_t kReadBytes = 256 << 10;
constexpr std::size_t kIndexEntryBytes = 16;

// Reads records one after the other through a window of the file.
class RecordReader {
 public:
  RecordReader(File& file, std::uint64_t offset, std::uint64_t end) : file_(file), offset_(offset), end_(end) {}

  std::optional<LogRecord> next() {
    while (rest().size() < wanted() && refill()) {
    }
    const auto record = read_log_record(rest());
    if (record) at_ += record->bytes();
    return record;
  }

 private:
  std::string_view rest() const { return std::string_view(window_).substr(at_); }

  // Bytes of the record at the front, as far as can be told.
  std::size_t wanted() const {
    const std::string_view have = rest();
    if (have.size() < sizeof(std::uint32_t)) return kLogRecordHeadBytes;
    std::uint32_t length = 0;
    std::memcpy(&length, have.data(), sizeof(length));
    return kLogRecordHeadBytes + std::min<std::size_t>(length, kLogMessageBytesMax);
  }

  bool refill() {
    window_.erase(0, at_);
    offset_ += at_;
    at_ = 0;
    std::size_t filled = window_.size();
    const std::size_t before = filled;
    window_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(end_ - offset_, std::max(kReadBytes, wanted()))));
    while (filled < window_.size()) {
      const std::size_t got = file_.read_at(offset_ + filled, std::span(window_).subspan(filled));
      if (got == 0) break;
      filled += got;
    }
    window_.resize(filled);
    return filled > before;
  }

  File& file_;
  std::uint64_t offset_;
  const std::uint64_t end_;
  std::string window_;
  std::size_t at_ = 0;
};

// Where each event begins in the sender's spool, when that can be told: what the spool adds to each event is the same
// for all. Nothing otherwise.
std::optional<std::uint64_t> bytes_added_per_event(std::uint64_t span, const std::vector<LogEvent>& events) {
  std::uint64_t messages = 0;
  for (const LogEvent& event : events) messages += event.message.size();
  if (events.empty() || span < messages || (span - messages) % events.size() != 0) return std::nullopt;
  return (span - messages) / events.size();
}

}  // namespace

LogStreamFile::LogStreamFile(std::string folder, std::string name, std::string first_sender, std::int64_t created_ms,
                             Files& files)
    : folder_(std::move(folder)),
      name_(std::move(name)),
      created_ms_(created_ms),
      files_(files),
      sender_(std::move(first_sender)) {
  recover();
}

void LogStreamFile::account(Extent& extent, const LogRecord& record) {
  if (extent.count % kEventsPerBlock == 0) blocks_.push_back({extent.end, extent.latest_ms});
  if (extent.count == 0) extent.first_event_ms = record.timestamp_ms;
  extent.end += record.bytes();
  ++extent.count;
  if (record.source_end != kNotEndOfBatch) extent.taken = record.source_end;
  extent.latest_ms = std::max(extent.latest_ms, record.timestamp_ms);
  extent.last_event_ms = record.timestamp_ms;
  extent.last_ingestion_ms = record.ingestion_ms;
}

void LogStreamFile::recover() {
  const auto file = files_.open(folder_ + "/events", Files::Open::kCreate, 0600);
  const std::uint64_t size = file->size();
  blocks_ = read_index(size);
  scan(*file, size);
  if (size > published_.end) file->truncate(published_.end);
  written_ = published_;
  write_index(0, blocks_.size());
  const std::string path = folder_ + "/sender";
  if (!files_.stat(path)) return;
  const json::value sender = json::parse(files_.read_all(path), path);
  sender_ = json::get_string(sender.as_object(), "sender");
  sender_base_ = static_cast<std::uint64_t>(json::get_int(sender.as_object(), "base"));
}

void LogStreamFile::begin_sender(const std::string& sender) {
  // Who began a stream whose first sender is not known goes on with it.
  const std::uint64_t base = sender_.empty() ? 0 : written_.taken;
  files_.replace(folder_ + "/sender", json::serialize(json::object{{"sender", sender}, {"base", base}}), 0600);
  sender_ = sender;
  sender_base_ = base;
}

std::vector<LogStreamFile::Block> LogStreamFile::read_index(std::uint64_t size) {
  std::vector<Block> blocks;
  if (!files_.stat(folder_ + "/index")) return blocks;
  const std::string index = files_.read_all(folder_ + "/index");
  for (std::size_t at = 0; at + kIndexEntryBytes <= index.size(); at += kIndexEntryBytes) {
    Block block;
    std::memcpy(&block.offset, index.data() + at, 8);
    std::memcpy(&block.latest_ms_before, index.data() + at + 8, 8);
    const bool rises = blocks.empty() ? block.offset == 0 : block.offset > blocks.back().offset;
    if (!rises || block.offset >= size) break;
    blocks.push_back(block);
  }
  return blocks;
}

// Reads on from the last block that the index knows. Where no whole batch ends after its beginning, the index knows too
// much: then from the block before.
void LogStreamFile::scan(File& file, std::uint64_t size) {
  std::int64_t first_event_ms = 0;
  if (const auto first = RecordReader(file, 0, size).next()) first_event_ms = first->timestamp_ms;
  for (;;) {
    Extent running;
    if (!blocks_.empty()) {
      running.end = blocks_.back().offset;
      running.latest_ms = blocks_.back().latest_ms_before;
      running.count = (blocks_.size() - 1) * kEventsPerBlock;
      running.first_event_ms = first_event_ms;
      blocks_.pop_back();
    }
    const std::uint64_t from = running.end;
    published_ = Extent();
    RecordReader reader(file, from, size);
    while (const auto record = reader.next()) {
      account(running, *record);
      if (record->source_end != kNotEndOfBatch) published_ = running;
    }
    if (published_.count > 0 || from == 0) {
      blocks_.resize(published_.blocks());
      return;
    }
    blocks_.resize(running.blocks());
    while (!blocks_.empty() && blocks_.back().offset >= from) blocks_.pop_back();
  }
}

std::string LogStreamFile::encode(const std::vector<LogEvent>& events, std::size_t from, std::uint64_t source_end,
                                  std::int64_t now_ms, Extent& extent) {
  std::string bytes;
  for (std::size_t i = from; i < events.size(); ++i) {
    const std::string_view message = std::string_view(events[i].message).substr(0, kLogMessageBytesMax);
    const LogRecord record{events[i].timestamp_ms, events[i].ingestion_ms != 0 ? events[i].ingestion_ms : now_ms,
                           i + 1 == events.size() ? source_end : kNotEndOfBatch, message};
    append_log_record(record, bytes);
    account(extent, record);
  }
  return bytes;
}

void LogStreamFile::write_index(std::size_t from_block, std::size_t to_block) {
  std::string bytes;
  for (std::size_t i = from_block; i < to_block; ++i) {
    bytes.append(reinterpret_cast<const char*>(&blocks_[i].offset), 8);
    bytes.append(reinterpret_cast<const char*>(&blocks_[i].latest_ms_before), 8);
  }
  const auto file = files_.open(folder_ + "/index", Files::Open::kCreate, 0600);
  if (from_block == 0) file->truncate(0);
  file->write_at(from_block * kIndexEntryBytes, bytes);
}

std::uint64_t LogStreamFile::append(const std::string& sender, std::uint64_t source_offset, std::uint64_t source_end,
                                    const std::vector<LogEvent>& events, std::int64_t now_ms) {
  const auto file = files_.open(folder_ + "/events", Files::Open::kCreate);
  std::uint64_t base = 0;
  std::uint64_t end = 0;
  std::uint64_t setbacks = 0;
  {
    const std::lock_guard lock(mutex_);
    if (sender != sender_) begin_sender(sender);
    base = sender_base_;
    source_offset += base;
    source_end += base;
    std::size_t from = 0;
    if (source_offset < written_.taken) {
      const auto added = bytes_added_per_event(source_end - source_offset, events);
      if (source_end <= written_.taken) {
        from = events.size();
      } else if (added) {
        std::uint64_t at = source_offset;
        for (; from < events.size() && at < written_.taken; ++from) at += events[from].message.size() + *added;
      }
    }
    if (from < events.size()) {
      Extent next = written_;
      const std::string bytes = encode(events, from, source_end, now_ms, next);
      try {
        file->write_at(written_.end, bytes);
      } catch (...) {
        blocks_.resize(written_.blocks());
        file->truncate(written_.end);
        throw;
      }
      written_ = next;
    }
    end = written_.end;
    setbacks = setbacks_;
  }

  const std::lock_guard sync_lock(sync_mutex_);
  Extent reached;
  {
    const std::lock_guard lock(mutex_);
    if (setbacks_ != setbacks) {
      throw Error(ErrorKind::kUnavailable, "writing {}: an earlier write was lost; send again", folder_);
    }
    if (published_.end >= end) return published_.taken - std::min(base, published_.taken);
    reached = written_;
  }
  try {
    file->sync();
  } catch (...) {
    const std::lock_guard lock(mutex_);
    ++setbacks_;
    written_ = published_;
    blocks_.resize(written_.blocks());
    file->truncate(published_.end);
    throw;
  }
  const std::lock_guard lock(mutex_);
  const std::size_t blocks_before = published_.blocks();
  published_ = reached;
  if (published_.blocks() > blocks_before) write_index(blocks_before, published_.blocks());
  return published_.taken - std::min(base, published_.taken);
}

LogStream LogStreamFile::describe() const {
  const std::lock_guard lock(mutex_);
  LogStream stream;
  stream.name = name_;
  stream.created_ms = created_ms_;
  stream.events = published_.count;
  stream.bytes = published_.end - published_.count * kLogRecordHeadBytes;
  if (published_.count > 0) {
    stream.first_event_ms = published_.first_event_ms;
    stream.last_event_ms = published_.last_event_ms;
    stream.last_ingestion_ms = published_.last_ingestion_ms;
  }
  return stream;
}

template <typename Take>
void LogStreamFile::walk(std::uint64_t position, const Take& take) const {
  std::uint64_t offset = 0;
  std::uint64_t end = 0;
  {
    const std::lock_guard lock(mutex_);
    if (position >= published_.count) return;
    offset = blocks_[position / kEventsPerBlock].offset;
    end = published_.end;
  }
  const auto file = files_.open(folder_ + "/events", Files::Open::kRead);
  RecordReader reader(*file, offset, end);
  for (std::uint64_t at = position / kEventsPerBlock * kEventsPerBlock; offset < end; ++at) {
    const auto record = reader.next();
    if (!record) {
      throw Error(ErrorKind::kCorrupt, "reading {}/events: the record of event {} is damaged", folder_, at);
    }
    offset += record->bytes();
    if (at >= position && !take(at, *record)) return;
  }
}

std::vector<LogEvent> LogStreamFile::read(std::uint64_t position, std::size_t count, std::size_t bytes_max) const {
  std::vector<LogEvent> events;
  if (count == 0) return events;
  std::size_t bytes = 0;
  walk(position, [&](std::uint64_t at, const LogRecord& record) {
    bytes += record.message.size();
    if (bytes > bytes_max && !events.empty()) return false;
    events.push_back({record.timestamp_ms, record.ingestion_ms, std::string(record.message), at});
    return events.size() < count;
  });
  return events;
}

std::uint64_t LogStreamFile::seek(std::int64_t timestamp_ms) const {
  std::uint64_t position = 0;
  std::uint64_t found = 0;
  {
    const std::lock_guard lock(mutex_);
    found = published_.count;
    if (published_.latest_ms < timestamp_ms || published_.count == 0) return found;
    // The last block before which no event is late enough.
    const auto first = blocks_.begin();
    const auto after = std::partition_point(first, first + static_cast<std::ptrdiff_t>(published_.blocks()),
                                            [&](const Block& block) { return block.latest_ms_before < timestamp_ms; });
    position = static_cast<std::uint64_t>(after - first - 1) * kEventsPerBlock;
  }
  walk(position, [&](std::uint64_t at, const LogRecord& record) {
    if (record.timestamp_ms < timestamp_ms) return true;
    found = at;
    return false;
  });
  return found;
}

}  // namespace athanor::storage
