#include "platform/cli/job_logs.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <utility>

namespace athanor::cli {
namespace {

constexpr const char* kGroup = "/aws/sagemaker/TrainingJobs";

// JOB/algo-N-EPOCH: when the stream's instance began, in seconds; 0 when the name says nothing.
std::int64_t began_s(std::string_view stream) {
  std::int64_t epoch_s = 0;
  const std::string_view digits = stream.substr(stream.rfind('-') + 1);
  std::from_chars(digits.data(), digits.data() + digits.size(), epoch_s);
  return epoch_s;
}

}  // namespace

bool has_several_hosts(const json::object& description) {
  const json::object* resources = json::find_object(description, "ResourceConfig");
  return resources != nullptr && json::find_int(*resources, "InstanceCount").value_or(1) > 1;
}

std::string format_job_line(const Terminal& out, const JobLine& line, bool name_host) {
  static constexpr Colour kHostColours[] = {Colour::kCyan, Colour::kMagenta, Colour::kYellow, Colour::kGreen,
                                            Colour::kBlue};
  const std::string text = out.foreign(line.text);
  if (!name_host) return text;
  const int number = line.host.size() > 5 ? std::atoi(line.host.c_str() + 5) : 0;  // behind "algo-"
  return out.paint(kHostColours[static_cast<std::size_t>(number) % std::size(kHostColours)], line.host) + "  " + text;
}

JobLogs::JobLogs(Connection& connection, std::string name, std::string host)
    : connection_(connection), name_(std::move(name)), host_(std::move(host)) {}

std::size_t JobLogs::read(const std::function<void(const JobLine&)>& take) {
  const std::string prefix = name_ + "/" + (host_.empty() ? "" : host_ + "-");
  std::string next;
  if (!created_s_) {
    const json::object job = connection_.sagemaker("DescribeTrainingJob", {{"TrainingJobName", name_}});
    created_s_ = static_cast<std::int64_t>(std::floor(json::find_double(job, "CreationTime").value_or(0)));
  }
  try {
    do {
      json::object request = {{"logGroupName", kGroup}, {"logStreamNamePrefix", prefix}};
      if (!next.empty()) request["nextToken"] = next;
      const json::object page = connection_.logs("DescribeLogStreams", request);
      if (const json::array* streams = json::find_array(page, "logStreams")) {
        for (const json::value& stream : *streams) {
          const std::string name = json::get_string(stream.as_object(), "logStreamName");
          if (began_s(name) >= *created_s_) tokens_.try_emplace(name);
        }
      }
      next = json::find_string(page, "nextToken").value_or("");
    } while (!next.empty());
  } catch (const ServiceError& error) {
    if (error.kind() != ErrorKind::kNotFound) throw;
    return 0;  // no job ever printed a line here
  }
  std::size_t count = 0;
  for (const auto& [stream, token] : tokens_) count += read_stream(stream, take);
  return count;
}

std::size_t JobLogs::read_stream(const std::string& stream, const std::function<void(const JobLine&)>& take) {
  std::string host = stream.substr(name_.size() + 1);
  host.resize(std::min(host.size(), host.rfind('-')));
  std::string& token = tokens_[stream];
  std::size_t count = 0;
  while (true) {
    json::object request = {{"logGroupName", kGroup}, {"logStreamName", stream}, {"startFromHead", true}};
    if (!token.empty()) request["nextToken"] = token;
    const json::object page = connection_.logs("GetLogEvents", request);
    const json::array* events = json::find_array(page, "events");
    if (events != nullptr) {
      for (const json::value& event : *events) {
        const json::object& one = event.as_object();
        take({host, json::get_int(one, "timestamp"), json::get_string(one, "message")});
        ++count;
      }
    }
    token = json::find_string(page, "nextForwardToken").value_or(token);
    if (events == nullptr || events->empty()) return count;
  }
}

}  // namespace athanor::cli
