#include "platform/api/logs_api.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "common/error.h"
#include "platform/api/log_filter.h"
#include "platform/api/service_error.h"

namespace athanor::api {
namespace {

// The log store's interface over memory: these tests are of paging and wording, not of durability.
class MemoryLogs final : public storage::Logs {
 public:
  std::uint64_t append(const std::string& group, const std::string& stream, const std::string&, std::uint64_t,
                       std::uint64_t source_end, const std::vector<storage::LogEvent>& events) override {
    auto& kept = groups_[group][stream];
    for (auto event : events) {
      event.position = kept.size();
      kept.push_back(std::move(event));
    }
    return source_end;
  }
  bool has_group(const std::string& group) const override { return groups_.contains(group); }
  std::vector<std::string> groups() const override {
    std::vector<std::string> names;
    for (const auto& [name, streams] : groups_) names.push_back(name);
    return names;
  }
  std::vector<storage::LogStream> streams(const std::string& group, std::string_view prefix) const override {
    std::vector<storage::LogStream> rows;
    for (const auto& [name, events] : groups_.at(group)) {
      if (!name.starts_with(prefix)) continue;
      storage::LogStream row{.name = name, .events = events.size(), .bytes = 1};
      row.first_event_ms = events.front().timestamp_ms;
      row.last_event_ms = events.back().timestamp_ms;
      rows.push_back(std::move(row));
    }
    return rows;
  }
  std::vector<storage::LogEvent> read(const std::string& group, const std::string& stream, std::uint64_t position,
                                      std::size_t count, std::size_t bytes_max) const override {
    std::vector<storage::LogEvent> events;
    const auto& kept = groups_.at(group).at(stream);
    std::size_t bytes = 0;
    for (; position < kept.size() && events.size() < count; ++position) {
      const std::size_t size = kept[position].message.size();
      if (!events.empty() && bytes + size > bytes_max) break;
      bytes += size;
      events.push_back(kept[position]);
    }
    bytes_read += bytes;
    longest_read_bytes = std::max(longest_read_bytes, bytes);
    return events;
  }
  std::uint64_t seek(const std::string& group, const std::string& stream, std::int64_t timestamp_ms) const override {
    const auto& kept = groups_.at(group).at(stream);
    return static_cast<std::uint64_t>(
        std::find_if(kept.begin(), kept.end(), [&](const auto& event) { return event.timestamp_ms >= timestamp_ms; }) -
        kept.begin());
  }

  mutable std::size_t bytes_read = 0;
  mutable std::size_t longest_read_bytes = 0;

 private:
  std::map<std::string, std::map<std::string, std::vector<storage::LogEvent>>> groups_;
};

class LogsApiTest : public testing::Test {
 protected:
  // Stream job/algo-1 has events 0 … 24 at even seconds, job/algo-2 0 … 4 at odd ones.
  LogsApiTest() {
    for (int i = 0; i < 25; ++i) add("job/algo-1", 2000 * i, "one " + std::to_string(i));
    for (int i = 0; i < 5; ++i) add("job/algo-2", 2000 * i + 1000, "two " + std::to_string(i));
  }
  void add(const std::string& stream, std::int64_t at_ms, const std::string& message) {
    logs_.append("g", stream, "", 0, 0, {{.timestamp_ms = at_ms, .ingestion_ms = at_ms, .message = message}});
  }
  json::object call(std::string_view operation, const std::string& request) {
    return api_.call(operation, json::parse(request, "the test"));
  }
  std::string code(std::string_view operation, const std::string& request) {
    try {
      call(operation, request);
      return "";
    } catch (const ServiceError& error) {
      return error.code();
    }
  }
  static std::vector<std::string> messages(const json::object& reply) {
    std::vector<std::string> texts;
    for (const auto& event : reply.at("events").as_array()) texts.emplace_back(event.at("message").as_string());
    return texts;
  }
  MemoryLogs logs_;
  LogsApi api_{logs_, "us-east-1", "000000000000"};
};

TEST_F(LogsApiTest, ReadsAStreamForwardsPageByPageToTheSameTokenAtTheEnd) {
  std::vector<std::string> all;
  std::string token;
  for (int page = 0; page < 10; ++page) {
    const auto reply =
        call("GetLogEvents", R"({"logGroupName":"g","logStreamName":"job/algo-1","startFromHead":true,"limit":10)" +
                                 (token.empty() ? "}" : R"(,"nextToken":")" + token + "\"}"));
    const auto texts = messages(reply);
    all.insert(all.end(), texts.begin(), texts.end());
    const std::string next(reply.at("nextForwardToken").as_string());
    if (next == token) break;
    token = next;
  }
  ASSERT_EQ(all.size(), 25u);
  EXPECT_EQ(all.front(), "one 0");
  EXPECT_EQ(all.back(), "one 24");
  add("job/algo-1", 60000, "late");  // what comes later is found with the same token
  EXPECT_EQ(messages(call("GetLogEvents",
                          R"({"logGroupName":"g","logStreamName":"job/algo-1","nextToken":")" + token + "\"}")),
            std::vector<std::string>{"late"});
}

TEST_F(LogsApiTest, ReadsTheEndFirstAndThenBackwards) {
  auto reply = call("GetLogEvents", R"({"logGroupName":"g","logStreamName":"job/algo-1","limit":10})");
  EXPECT_EQ(messages(reply).front(), "one 15");
  EXPECT_EQ(messages(reply).back(), "one 24");
  const std::string token(reply.at("nextBackwardToken").as_string());
  reply = call("GetLogEvents",
               R"({"logGroupName":"g","logStreamName":"job/algo-1","limit":10,"nextToken":")" + token + "\"}");
  EXPECT_EQ(messages(reply).front(), "one 5");
  EXPECT_EQ(messages(reply).back(), "one 14");
}

TEST_F(LogsApiTest, TimesBoundWhatIsRead) {
  const auto reply =
      call("GetLogEvents", R"({"logGroupName":"g","logStreamName":"job/algo-1","startTime":4000,"endTime":8000})");
  EXPECT_EQ(messages(reply), (std::vector<std::string>{"one 2", "one 3"}));
}

TEST_F(LogsApiTest, FilterMergesStreamsByTimeAndPages) {
  std::vector<std::string> all;
  std::string token;
  do {
    const auto reply = call("FilterLogEvents", R"({"logGroupName":"g","limit":7)" +
                                                   (token.empty() ? "}" : R"(,"nextToken":")" + token + "\"}"));
    const auto texts = messages(reply);
    all.insert(all.end(), texts.begin(), texts.end());
    token = json::find_string(reply, "nextToken").value_or("");
  } while (!token.empty());
  ASSERT_EQ(all.size(), 30u);
  EXPECT_EQ(all[0], "one 0");
  EXPECT_EQ(all[1], "two 0");
  EXPECT_EQ(all[2], "one 1");
  EXPECT_EQ(messages(call("FilterLogEvents",
                          R"({"logGroupName":"g","logStreamNamePrefix":"job/algo-2","filterPattern":"\"two 3\""})")),
            std::vector<std::string>{"two 3"});
}

// A page has 1 MiB, and little more is read for it, however long the lines and however many the streams.
TEST_F(LogsApiTest, LongLinesAreReadBackwardsAPageAtATime) {
  for (int i = 0; i < 300; ++i) add("long", i, std::to_string(i) + std::string(i % 7 == 0 ? 200'000 : 100, '.'));
  std::vector<std::string> all;
  std::string token;
  for (;;) {
    logs_.bytes_read = 0;
    const auto reply = call("GetLogEvents", R"({"logGroupName":"g","logStreamName":"long")" +
                                                (token.empty() ? "}" : R"(,"nextToken":")" + token + "\"}"));
    EXPECT_LT(logs_.bytes_read, 8u << 20);
    EXPECT_LT(logs_.longest_read_bytes, 2u << 20);
    const auto page = messages(reply);
    if (page.empty()) break;
    std::size_t bytes = 0;
    for (const auto& text : page) bytes += text.size();
    EXPECT_LE(bytes, 1u << 20);
    all.insert(all.begin(), page.begin(), page.end());
    token = json::get_string(reply, "nextBackwardToken");
  }
  ASSERT_EQ(all.size(), 300u);
  for (int i = 0; i < 300; ++i) EXPECT_TRUE(all[i].starts_with(std::to_string(i) + "."));
}

TEST_F(LogsApiTest, FilterReadsLittleOfEachOfManyStreams) {
  for (int stream = 0; stream < 100; ++stream) {
    for (int i = 0; i < 8; ++i) {
      add(fmt::format("many/{:03}", stream), 100 * i + stream,
          fmt::format("{} of {}{}", i, stream, std::string(200'000, '.')));
    }
  }
  std::vector<std::string> all;
  std::string token;
  do {
    logs_.bytes_read = 0;
    const auto reply = call("FilterLogEvents", R"({"logGroupName":"g","logStreamNamePrefix":"many/")" +
                                                   (token.empty() ? "}" : R"(,"nextToken":")" + token + "\"}"));
    EXPECT_LT(logs_.bytes_read, 32u << 20) << "a line of each stream, and those of the page";
    for (const auto& text : messages(reply)) all.push_back(text.substr(0, text.find('.')));
    token = json::find_string(reply, "nextToken").value_or("");
  } while (!token.empty());
  ASSERT_EQ(all.size(), 800u);
  for (int i = 0; i < 800; ++i) EXPECT_EQ(all[i], fmt::format("{} of {}", i / 100, i % 100));
}

TEST_F(LogsApiTest, DescribeGivesATokenOnlyWhenThereIsMore) {
  auto reply = call("DescribeLogStreams", R"({"logGroupName":"g","logStreamNamePrefix":"job/","limit":1})");
  EXPECT_EQ(reply.at("logStreams").as_array().size(), 1u);
  reply = call("DescribeLogStreams", R"({"logGroupName":"g","logStreamNamePrefix":"job/","limit":1,"nextToken":")" +
                                         std::string(reply.at("nextToken").as_string()) + "\"}");
  EXPECT_EQ(reply.at("logStreams").at(0).at("logStreamName"), "job/algo-2");
  EXPECT_FALSE(reply.contains("nextToken"));
}

TEST_F(LogsApiTest, BadRequestsGetTheServicesErrors) {
  EXPECT_EQ(code("GetLogEvents", R"({"logGroupName":"none","logStreamName":"s"})"), "ResourceNotFoundException");
  EXPECT_EQ(code("GetLogEvents", R"({"logGroupName":"g","logStreamName":"none"})"), "ResourceNotFoundException");
  EXPECT_EQ(code("GetLogEvents", R"({"logGroupName":"g"})"), "InvalidParameterException");
  EXPECT_EQ(code("GetLogEvents", R"({"logGroupName":"g","logStreamName":"job/algo-1","limit":0})"),
            "InvalidParameterException");
  EXPECT_EQ(code("GetLogEvents", R"({"logGroupName":"g","logStreamName":"job/algo-1","limit":"x"})"),
            "SerializationException");
  for (const char* token : {"f/1/s", "x", "f/9999999999999999999999999999999999999999999999999999999999/s"}) {
    EXPECT_EQ(code("GetLogEvents",
                   R"({"logGroupName":"g","logStreamName":"job/algo-1","nextToken":")" + std::string(token) + "\"}"),
              "InvalidParameterException")
        << token;
  }
  EXPECT_EQ(code("FilterLogEvents", R"({"logGroupName":"g","nextToken":"%"})"), "InvalidParameterException");
  EXPECT_EQ(code("FilterLogEvents", R"({"logGroupName":"g","filterPattern":"{ $.a = 1 }"})"),
            "InvalidParameterException");
  EXPECT_EQ(code("PutLogEvents", "{}"), "UnknownOperationException");
}

TEST(LogFilter, TermsPhrasesExclusionsAndAlternatives) {
  EXPECT_TRUE(LogFilter("").matches("anything"));
  EXPECT_TRUE(LogFilter("a b").matches("b and a"));
  EXPECT_FALSE(LogFilter("a b").matches("a"));
  EXPECT_TRUE(LogFilter("\"two words\" -bad").matches("here two words"));
  EXPECT_FALSE(LogFilter("two -bad").matches("two bad"));
  EXPECT_TRUE(LogFilter("?x ?y").matches("only y"));
  EXPECT_FALSE(LogFilter("?x ?y").matches("none"));
  EXPECT_THROW(LogFilter("\"open"), ServiceError);
  EXPECT_THROW(LogFilter("-"), ServiceError);
}

}  // namespace
}  // namespace athanor::api
