#include "platform/api/logs_api.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "common/error.h"
#include "common/hash.h"
#include "platform/api/log_filter.h"
#include "platform/api/service_error.h"

namespace athanor::api {

namespace {

constexpr std::size_t kEventsMax = 10000;             // a page, the service's bound and default
constexpr std::size_t kBytesMax = 1 << 20;            // of messages in a page, likewise
constexpr std::size_t kStreamsMax = 50;               // a page of DescribeLogStreams
constexpr std::size_t kFilteredStreamsMax = 1000;     // one FilterLogEvents reads at most so many streams
constexpr std::size_t kScannedMax = 20 * kEventsMax;  // events that one FilterLogEvents looks at before it pages
constexpr std::size_t kScannedBytesMax = 64 << 20;    // and what their messages have

[[noreturn]] void invalid(const std::string& message) { throw ServiceError("InvalidParameterException", message); }

std::size_t limit_of(const json::object& request, std::size_t fallback) {
  return static_cast<std::size_t>(json::find_int(request, "limit").value_or(static_cast<std::int64_t>(fallback)));
}

// Positions as the service spells them: "f/0…017/s". Nothing when malformed.
std::string token_of(char direction, std::uint64_t position) { return fmt::format("{}/{:056}/s", direction, position); }

struct Cursor {
  bool forward = true;
  std::uint64_t position = 0;
};

Cursor parse_token(const std::string& token) {
  Cursor cursor;
  const bool shaped =
      token.size() == 60 && (token[0] == 'f' || token[0] == 'b') && token[1] == '/' && token.ends_with("/s");
  const char* end = token.data() + (shaped ? 58 : 0);
  if (!shaped || std::from_chars(token.data() + 2, end, cursor.position).ptr != end) {
    invalid("The specified nextToken is invalid.");
  }
  cursor.forward = token[0] == 'f';
  return cursor;
}

// Events of a stream between two times, as positions [first, last).
struct Range {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
};

// The last events of `range`, in order: at most `count_max` and, but for a single longer one, kBytesMax. A page cut by
// bytes loses its old end, not its new one, so that reading on backwards misses nothing. Steps back in blocks that grow
// with success, and never holds more than two pages.
std::vector<storage::LogEvent> read_back(const storage::Logs& logs, const std::string& group, const std::string& stream,
                                         Range range, std::size_t count_max) {
  static constexpr std::size_t kBlockFirst = 64;
  static constexpr std::size_t kBlockMax = 4096;
  std::vector<storage::LogEvent> latest_first;
  std::size_t bytes = 0;
  std::size_t block = kBlockFirst;
  while (range.first < range.last && latest_first.size() < count_max) {
    const auto count = static_cast<std::size_t>(
        std::min<std::uint64_t>({block, range.last - range.first, count_max - latest_first.size()}));
    auto piece = logs.read(group, stream, range.last - count, count, kBytesMax);
    if (piece.empty()) break;
    if (piece.size() < count) {  // the block holds more than a page: its end was not reached
      block = count / 2;
      continue;
    }
    for (auto event = piece.rbegin(); event != piece.rend(); ++event) {
      bytes += event->message.size();
      if (bytes > kBytesMax && !latest_first.empty()) {
        std::reverse(latest_first.begin(), latest_first.end());
        return latest_first;
      }
      latest_first.push_back(std::move(*event));
    }
    range.last -= count;
    block = std::min(2 * block, kBlockMax);
  }
  std::reverse(latest_first.begin(), latest_first.end());
  return latest_first;
}

std::string arn_of_group(const std::string& region, const std::string& account, const std::string& group) {
  return fmt::format("arn:aws:logs:{}:{}:log-group:{}", region, account, group);
}

}  // namespace

LogsApi::LogsApi(const storage::Logs& logs, std::string region, std::string account)
    : logs_(logs), region_(std::move(region)), account_(std::move(account)), shapes_(logs_shapes()) {}

json::object LogsApi::call(std::string_view operation, const json::value& request) const {
  using Call = json::object (LogsApi::*)(const json::object&) const;
  static const std::map<std::string_view, Call> kCalls = {
      {"DescribeLogGroups", &LogsApi::describe_log_groups},
      {"DescribeLogStreams", &LogsApi::describe_log_streams},
      {"GetLogEvents", &LogsApi::get_log_events},
      {"FilterLogEvents", &LogsApi::filter_log_events},
  };
  const auto found = kCalls.find(operation);
  if (found == kCalls.end()) {
    throw ServiceError("UnknownOperationException", fmt::format("Logs operation {} is not supported", operation));
  }
  try {
    if (const auto broken = shapes_.violations(operation, request); !broken.empty()) invalid(violations_text(broken));
  } catch (const SerializationError& error) {
    throw ServiceError("SerializationException", error.what());
  }
  return (this->*found->second)(request.get_object());
}

std::string LogsApi::group_of(const json::object& request) const {
  auto group = json::find_string(request, "logGroupName");
  const auto identifier = json::find_string(request, "logGroupIdentifier");
  if (group && identifier) invalid("LogGroup name and LogGroup identifier are mutually exclusive parameters.");
  if (!group && !identifier) invalid("Either LogGroup name or LogGroup identifier must be provided.");
  if (identifier) {
    const std::string prefix = arn_of_group(region_, account_, "");
    group = identifier->starts_with(prefix) ? identifier->substr(prefix.size()) : *identifier;
  }
  if (!logs_.has_group(*group)) {
    throw ServiceError("ResourceNotFoundException", "The specified log group does not exist.");
  }
  return *group;
}

json::object LogsApi::describe_log_groups(const json::object& request) const {
  const std::string prefix = json::find_string(request, "logGroupNamePrefix").value_or("");
  const std::string part = json::find_string(request, "logGroupNamePattern").value_or("");
  if (!prefix.empty() && !part.empty()) {
    invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.");
  }
  const std::string after = json::find_string(request, "nextToken").value_or("");
  const std::size_t limit = limit_of(request, kStreamsMax);

  json::object reply;
  json::array rows;
  auto groups = logs_.groups();
  std::sort(groups.begin(), groups.end());
  for (const auto& group : groups) {
    if (!group.starts_with(prefix) || group.find(part) == std::string::npos || (!after.empty() && group <= after)) {
      continue;
    }
    if (rows.size() == limit) {
      reply["nextToken"] = rows.back().at("logGroupName");
      break;
    }
    std::int64_t created_ms = std::numeric_limits<std::int64_t>::max();
    std::uint64_t bytes = 0;
    for (const auto& stream : logs_.streams(group, "")) {
      created_ms = std::min(created_ms, stream.created_ms);
      bytes += stream.bytes;
    }
    const std::string arn = arn_of_group(region_, account_, group);
    rows.push_back({{"logGroupName", group},
                    {"creationTime", bytes == 0 ? 0 : created_ms},
                    {"metricFilterCount", 0},
                    {"arn", arn + ":*"},
                    {"logGroupArn", arn},
                    {"logGroupClass", "STANDARD"},
                    {"storedBytes", bytes}});
  }
  reply["logGroups"] = std::move(rows);
  return reply;
}

json::object LogsApi::describe_log_streams(const json::object& request) const {
  const std::string group = group_of(request);
  const auto prefix = json::find_string(request, "logStreamNamePrefix");
  const bool by_time = json::find_string(request, "orderBy").value_or("LogStreamName") == "LastEventTime";
  const bool descending = json::find_bool(request, "descending").value_or(false);
  const std::size_t limit = limit_of(request, kStreamsMax);
  if (by_time && prefix) invalid("Cannot order by LastEventTime with a logStreamNamePrefix.");

  auto streams = logs_.streams(group, prefix.value_or(""));
  if (by_time) {
    std::stable_sort(streams.begin(), streams.end(),
                     [](const auto& a, const auto& b) { return a.last_event_ms < b.last_event_ms; });
  }
  if (descending) std::reverse(streams.begin(), streams.end());

  auto at = streams.begin();
  if (const auto after = json::find_string(request, "nextToken")) {
    at = std::find_if(streams.begin(), streams.end(), [&](const auto& stream) { return stream.name == *after; });
    if (at == streams.end()) invalid("The specified nextToken is invalid.");
    ++at;
  }
  json::object reply;
  json::array rows;
  for (; at != streams.end() && rows.size() < limit; ++at) {
    json::object row{{"logStreamName", at->name},
                     {"creationTime", at->created_ms},
                     {"arn", arn_of_group(region_, account_, group) + ":log-stream:" + at->name},
                     {"uploadSequenceToken", fmt::format("{:056}", at->events)},
                     {"storedBytes", 0}};  // the service has reported 0 since 2019
    if (at->first_event_ms) row["firstEventTimestamp"] = *at->first_event_ms;
    if (at->last_event_ms) row["lastEventTimestamp"] = *at->last_event_ms;
    if (at->last_ingestion_ms) row["lastIngestionTime"] = *at->last_ingestion_ms;
    rows.push_back(std::move(row));
  }
  // Only when there is more: the SageMaker SDK v2 loops for ever on a token that it gets without need.
  if (at != streams.end()) reply["nextToken"] = rows.back().at("logStreamName");
  reply["logStreams"] = std::move(rows);
  return reply;
}

json::object LogsApi::get_log_events(const json::object& request) const {
  const std::string group = group_of(request);
  const std::string name = json::get_string(request, "logStreamName");
  const auto streams = logs_.streams(group, name);
  const auto stream = std::find_if(streams.begin(), streams.end(), [&](const auto& row) { return row.name == name; });
  if (stream == streams.end()) {
    throw ServiceError("ResourceNotFoundException", "The specified log stream does not exist.");
  }

  const auto start_ms = json::find_int(request, "startTime");
  const auto end_ms = json::find_int(request, "endTime");
  const std::size_t limit = limit_of(request, kEventsMax);
  Range range{start_ms ? logs_.seek(group, name, *start_ms) : 0,
              end_ms ? logs_.seek(group, name, *end_ms) : stream->events};
  range.first = std::min(range.first, stream->events);
  range.last = std::max(std::min(range.last, stream->events), range.first);

  const auto token = json::find_string(request, "nextToken");
  Cursor cursor{json::find_bool(request, "startFromHead").value_or(false), 0};
  if (token) {
    cursor = parse_token(*token);
  } else {
    cursor.position = cursor.forward ? range.first : range.last;
  }
  std::uint64_t first = std::max(cursor.position, range.first);
  std::uint64_t last = range.last;
  if (!cursor.forward) last = std::min(first, range.last);
  std::vector<storage::LogEvent> events;
  if (!cursor.forward) {
    events = read_back(logs_, group, name, {range.first, last}, limit);
  } else if (first < last) {
    events = logs_.read(group, name, first, std::min<std::size_t>(limit, last - first), kBytesMax);
  }

  json::array rows;
  for (const auto& event : events) {
    rows.push_back(
        {{"timestamp", event.timestamp_ms}, {"message", event.message}, {"ingestionTime", event.ingestion_ms}});
  }
  const std::uint64_t before = events.empty() ? (cursor.forward ? first : last) : events.front().position;
  const std::uint64_t after = events.empty() ? before : events.back().position + 1;
  return {{"events", std::move(rows)},
          {"nextForwardToken", token_of('f', after)},
          {"nextBackwardToken", token_of('b', before)}};
}

namespace {

// Streams being read by FilterLogEvents, merged by time. Of each the next event's time is known; the events themselves
// are held a block at a time, of all streams together no more than kHeldBytesMax and one block.
class Merge {
 public:
  Merge(const storage::Logs& logs, const std::string& group, std::size_t streams)
      : logs_(logs),
        group_(group),
        block_bytes_max_(std::min(kHeldBytesMax / std::max<std::size_t>(streams, 1), kBytesMax)) {}

  // Events [range) of a stream.
  void add(std::string name, Range range) {
    readers_.push_back({std::move(name), range, {}, 0, 0});
    advance(readers_.size() - 1);
  }

  bool over() const { return next_.empty(); }
  const std::string& stream() const { return readers_[front()].name; }
  // The earliest event; good until the next call.
  const storage::LogEvent& event() {
    Reader& reader = readers_[front()];
    if (reader.at == reader.block.size()) ATHANOR_ASSERT(fill(reader));
    return reader.block[reader.at];
  }
  void pop() {
    const std::size_t index = front();
    next_.erase(next_.begin());
    Reader& reader = readers_[index];
    ++reader.range.first;
    if (reader.at < reader.block.size()) ++reader.at;
    advance(index);
  }

  // Where each stream is to be gone on with.
  json::object positions() const {
    json::object result;
    for (const Reader& reader : readers_) result[reader.name] = reader.range.first;
    return result;
  }

 private:
  static constexpr std::size_t kBlockEvents = 512;
  static constexpr std::size_t kHeldBytesMax = 8 << 20;

  struct Reader {
    std::string name;
    Range range;  // from the next event on
    std::vector<storage::LogEvent> block;
    std::size_t at = 0;  // the next event in `block`
    std::size_t held_bytes = 0;
  };

  std::size_t front() const { return next_.begin()->second; }

  // Puts the reader among the others by its next event, or nowhere at its end.
  void advance(std::size_t index) {
    Reader& reader = readers_[index];
    if (reader.at == reader.block.size() && !fill(reader)) return;
    next_.emplace(reader.block[reader.at].timestamp_ms, index);
  }

  bool fill(Reader& reader) {
    drop(reader);
    if (reader.range.first >= reader.range.last) return false;
    if (held_bytes_ > kHeldBytesMax) {
      for (Reader& other : readers_) drop(other);
    }
    const auto count = std::min<std::uint64_t>(kBlockEvents, reader.range.last - reader.range.first);
    reader.block =
        logs_.read(group_, reader.name, reader.range.first, static_cast<std::size_t>(count), block_bytes_max_);
    for (const auto& event : reader.block) reader.held_bytes += event.message.size();
    held_bytes_ += reader.held_bytes;
    return !reader.block.empty();
  }

  void drop(Reader& reader) {
    held_bytes_ -= std::exchange(reader.held_bytes, 0);
    reader.block = {};
    reader.at = 0;
  }

  const storage::Logs& logs_;
  const std::string& group_;
  const std::size_t block_bytes_max_;  // but one event may be longer
  std::vector<Reader> readers_;
  std::set<std::pair<std::int64_t, std::size_t>> next_;  // time of the next event, index of the reader
  std::size_t held_bytes_ = 0;
};

// The token of FilterLogEvents: the position in each stream, as base64 of a JSON object.
json::object parse_filter_token(const std::string& token) {
  try {
    return json::parse(from_base64(token), "nextToken").as_object();
  } catch (const std::exception&) {
    invalid("The specified nextToken is invalid.");
  }
}

}  // namespace

json::object LogsApi::filter_log_events(const json::object& request) const {
  const std::string group = group_of(request);
  const auto* names = json::find_array(request, "logStreamNames");
  const auto prefix = json::find_string(request, "logStreamNamePrefix");
  if (names != nullptr && prefix) invalid("logStreamNames and logStreamNamePrefix are mutually exclusive parameters.");
  const LogFilter filter(json::find_string(request, "filterPattern").value_or(""));
  const std::size_t limit = limit_of(request, kEventsMax);
  const auto start_ms = json::find_int(request, "startTime");
  const auto end_ms = json::find_int(request, "endTime");
  const auto token = json::find_string(request, "nextToken");
  const json::object resume = token ? parse_filter_token(*token) : json::object();

  std::vector<std::pair<std::string, Range>> streams;
  for (auto& stream : logs_.streams(group, prefix.value_or(""))) {
    if (names != nullptr && std::find(names->begin(), names->end(), json::value(stream.name)) == names->end()) continue;
    if (start_ms && stream.last_event_ms && *stream.last_event_ms < *start_ms) continue;
    if (streams.size() == kFilteredStreamsMax) {
      invalid(fmt::format("More than {} log streams match: name some with logStreamNames or logStreamNamePrefix.",
                          kFilteredStreamsMax));
    }
    Range range;
    range.last = end_ms ? logs_.seek(group, stream.name, *end_ms + 1) : stream.events;
    const auto from = json::find_int(resume, stream.name);
    range.first = from       ? static_cast<std::uint64_t>(std::max<std::int64_t>(*from, 0))
                  : start_ms ? logs_.seek(group, stream.name, *start_ms)
                             : 0;
    streams.emplace_back(std::move(stream.name), range);
  }
  if (names != nullptr && streams.size() < names->size() && !start_ms) {
    for (const auto& name : *names) {
      const bool there = std::any_of(streams.begin(), streams.end(),
                                     [&](const auto& stream) { return stream.first == name.as_string(); });
      if (!there) throw ServiceError("ResourceNotFoundException", "The specified log stream does not exist.");
    }
  }

  // A page ends at the limit, at its bytes, or when enough was looked at in vain.
  Merge merge(logs_, group, streams.size());
  for (auto& [name, range] : streams) merge.add(std::move(name), range);
  json::array rows;
  std::size_t bytes = 0;
  std::size_t scanned_bytes = 0;
  for (std::size_t scanned = 0; !merge.over(); ++scanned) {
    const storage::LogEvent& event = merge.event();
    if (rows.size() == limit || (bytes > 0 && bytes + event.message.size() > kBytesMax) || scanned == kScannedMax ||
        scanned_bytes >= kScannedBytesMax) {
      break;
    }
    scanned_bytes += event.message.size();
    if (filter.matches(event.message)) {
      bytes += event.message.size();
      const std::string& stream = merge.stream();
      rows.push_back({{"logStreamName", stream},
                      {"timestamp", event.timestamp_ms},
                      {"message", event.message},
                      {"ingestionTime", event.ingestion_ms},
                      {"eventId", fmt::format("{:020}{:036}", std::hash<std::string>()(stream), event.position)}});
    }
    merge.pop();
  }
  json::object reply{{"events", std::move(rows)}, {"searchedLogStreams", json::array()}};
  if (!merge.over()) reply["nextToken"] = to_base64(json::serialize(merge.positions()));
  return reply;
}

}  // namespace athanor::api
