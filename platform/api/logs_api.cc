#include "platform/api/logs_api.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <optional>

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
  const bool shaped = token.size() == 60 && (token[0] == 'f' || token[0] == 'b') && token[1] == '/' && token.ends_with("/s");
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
  if (!logs_.has_group(*group)) throw ServiceError("ResourceNotFoundException", "The specified log group does not exist.");
  return *group;
}

json::object LogsApi::describe_log_groups(const json::object& request) const {
  const std::string prefix = json::find_string(request, "logGroupNamePrefix").value_or("");
  const std::string part = json::find_string(request, "logGroupNamePattern").value_or("");
  if (!prefix.empty() && !part.empty()) invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.");
  const std::string after = json::find_string(request, "nextToken").value_or("");
  const std::size_t limit = limit_of(request, kStreamsMax);

  json::object reply;
  json::array rows;
  auto groups = logs_.groups();
  std::sort(groups.begin(), groups.end());
  for (const auto& group : groups) {
    if (!group.starts_with(prefix) || group.find(part) == std::string::npos || (!after.empty() && group <= after)) continue;
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
    std::stable_sort(streams.begin(), streams.end(), [](const auto& a, const auto& b) { return a.last_event_ms < b.last_event_ms; });
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
  if (stream == streams.end()) throw ServiceError("ResourceNotFoundException", "The specified log stream does not exist.");

  const auto start_ms = json::find_int(request, "startTime");
  const auto end_ms = json::find_int(request, "endTime");
  const std::size_t limit = limit_of(request, kEventsMax);
  Range range{start_ms ? logs_.seek(group, name, *start_ms) : 0, end_ms ? logs_.seek(group, name, *end_ms) : stream->events};
  range.first = std::min(range.first, stream->events);
  range.last = std::max(std::min(range.last, stream->events), range.first);

  const auto token = json::find_string(request, "nextToken");
  Cursor cursor{json::find_bool(request, "startFromHead").value_or(false), 0};
  if (token) {
    cursor = parse_token(*token);
  } else {
    cursor.position = cursor.forward ? range.first : range.last;
  }
  // Backwards is forwards from `limit` events earlier, cut at the cursor; a page cut by bytes loses its old end, not
  // its new one, so that reading on backwards misses nothing.
  std::uint64_t first = std::max(cursor.position, range.first);
  std::uint64_t last = range.last;
  if (!cursor.forward) {
    last = std::min(std::max(cursor.position, range.first), range.last);
    first = last - std::min<std::uint64_t>(limit, last - range.first);
  }
  std::vector<storage::LogEvent> events;
  if (first < last) {
    events = logs_.read(group, name, first, std::min<std::size_t>(limit, last - first),
                        cursor.forward ? kBytesMax : std::numeric_limits<std::size_t>::max());
  }
  if (!cursor.forward) {
    std::size_t bytes = 0;
    auto keep = events.end();
    while (keep != events.begin() && (bytes += std::prev(keep)->message.size()) <= kBytesMax) --keep;
    if (keep == events.end() && !events.empty()) --keep;  // one event beyond the bound still has to go out
    events.erase(events.begin(), keep);
  }

  json::array rows;
  for (const auto& event : events) {
    rows.push_back({{"timestamp", event.timestamp_ms}, {"message", event.message}, {"ingestionTime", event.ingestion_ms}});
  }
  const std::uint64_t before = events.empty() ? (cursor.forward ? first : last) : events.front().position;
  const std::uint64_t after = events.empty() ? before : events.back().position + 1;
  return {{"events", std::move(rows)},
          {"nextForwardToken", token_of('f', after)},
          {"nextBackwardToken", token_of('b', before)}};
}

namespace {

// A stream being read by FilterLogEvents: a block of events and how far into it we are.
struct Reader {
  std::string name;
  std::uint64_t next = 0;  // position after the block
  std::uint64_t last = 0;
  std::vector<storage::LogEvent> block;
  std::size_t at = 0;

  std::uint64_t position() const { return at < block.size() ? block[at].position : next; }

  // The event to be looked at, or null at the end of the range.
  const storage::LogEvent* peek(const storage::Logs& logs, const std::string& group) {
    static constexpr std::size_t kBlock = 512;
    if (at == block.size()) {
      if (next >= last) return nullptr;
      block = logs.read(group, name, next, std::min<std::size_t>(kBlock, last - next), kBytesMax);
      at = 0;
      if (block.empty()) return nullptr;
      next = block.back().position + 1;
    }
    return &block[at];
  }
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

  std::vector<Reader> readers;
  for (const auto& stream : logs_.streams(group, prefix.value_or(""))) {
    if (names != nullptr && std::find(names->begin(), names->end(), json::value(stream.name)) == names->end()) continue;
    if (start_ms && stream.last_event_ms && *stream.last_event_ms < *start_ms) continue;
    if (readers.size() == kFilteredStreamsMax) {
      invalid(fmt::format("More than {} log streams match: name some with logStreamNames or logStreamNamePrefix.",
                          kFilteredStreamsMax));
    }
    Reader reader{.name = stream.name};
    reader.last = end_ms ? logs_.seek(group, stream.name, *end_ms + 1) : stream.events;
    const auto from = json::find_int(resume, stream.name);
    reader.next = from ? static_cast<std::uint64_t>(std::max<std::int64_t>(*from, 0))
                       : start_ms ? logs_.seek(group, stream.name, *start_ms) : 0;
    readers.push_back(std::move(reader));
  }
  if (names != nullptr && readers.size() < names->size() && !start_ms) {
    for (const auto& name : *names) {
      const bool there = std::any_of(readers.begin(), readers.end(), [&](const auto& reader) { return reader.name == name.as_string(); });
      if (!there) throw ServiceError("ResourceNotFoundException", "The specified log stream does not exist.");
    }
  }

  // Merge the streams by time. A page ends at the limit, at its bytes, or when enough was looked at in vain.
  json::array rows;
  std::size_t bytes = 0;
  bool more = false;
  for (std::size_t scanned = 0;; ++scanned) {
    Reader* earliest = nullptr;
    const storage::LogEvent* event = nullptr;
    for (auto& reader : readers) {
      const auto* candidate = reader.peek(logs_, group);
      if (candidate != nullptr && (event == nullptr || candidate->timestamp_ms < event->timestamp_ms)) {
        earliest = &reader;
        event = candidate;
      }
    }
    if (event == nullptr) break;
    if (rows.size() == limit || (bytes > 0 && bytes + event->message.size() > kBytesMax) || scanned == kScannedMax) {
      more = true;
      break;
    }
    if (filter.matches(event->message)) {
      bytes += event->message.size();
      rows.push_back({{"logStreamName", earliest->name},
                      {"timestamp", event->timestamp_ms},
                      {"message", event->message},
                      {"ingestionTime", event->ingestion_ms},
                      {"eventId", fmt::format("{:020}{:036}", std::hash<std::string>()(earliest->name), event->position)}});
    }
    ++earliest->at;
  }
  json::object reply{{"events", std::move(rows)}, {"searchedLogStreams", json::array()}};
  if (more) {
    json::object positions;
    for (const auto& reader : readers) positions[reader.name] = reader.position();
    reply["nextToken"] = to_base64(json::serialize(positions));
  }
  return reply;
}

}  // namespace athanor::api
