// athanor logs.
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "platform/cli/commands.h"
#include "platform/cli/exit_code.h"
#include "platform/cli/job_logs.h"
#include "platform/cli/patience.h"
#include "platform/cli/terminal.h"
#include "platform/cli/watch.h"

namespace athanor::cli {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(300);
constexpr const char* kGroup = "/aws/sagemaker/TrainingJobs";

// Throws kNotFound when the job has no such host.
void check_host(const json::object& job, const std::string& host) {
  const json::object* resources = json::find_object(job, "ResourceConfig");
  const std::int64_t count = resources == nullptr ? 1 : json::find_int(*resources, "InstanceCount").value_or(1);
  for (std::int64_t i = 1; i <= count; ++i) {
    if (host == fmt::format("algo-{}", i)) return;
  }
  throw Error(ErrorKind::kNotFound, "Reading the log of {}: it has no host '{}', but algo-1{}.", json::get_string(job, "TrainingJobName"),
              host, count == 1 ? "" : fmt::format(" to algo-{}", count));
}

}  // namespace

bool has_several_hosts(const json::object& description) {
  const json::object* resources = json::find_object(description, "ResourceConfig");
  return resources != nullptr && json::find_int(*resources, "InstanceCount").value_or(1) > 1;
}

std::string format_job_line(const Terminal& out, const JobLine& line, bool name_host) {
  static constexpr Colour kHostColours[] = {Colour::kCyan, Colour::kMagenta, Colour::kYellow, Colour::kGreen, Colour::kBlue};
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
  try {
    do {
      json::object request = {{"logGroupName", kGroup}, {"logStreamNamePrefix", prefix}};
      if (!next.empty()) request["nextToken"] = next;
      const json::object page = connection_.logs("DescribeLogStreams", request);
      if (const json::array* streams = json::find_array(page, "logStreams")) {
        for (const json::value& stream : *streams) tokens_.try_emplace(json::get_string(stream.as_object(), "logStreamName"));
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
  // JOB/algo-N-EPOCH
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

int logs(const LogsOptions& options) {
  Connection connection(find_place(options.common.data_dir));
  const Terminal out(stdout);
  json::object job = connection.sagemaker("DescribeTrainingJob", {{"TrainingJobName", options.name}});
  if (!options.host.empty()) check_host(job, options.host);
  const bool name_hosts = options.host.empty() && has_several_hosts(job);

  JobLogs reader(connection, options.name, options.host);
  const auto print = [&](const JobLine& line) {
    if (options.common.json) {
      out.line(json::serialize(json::object{{"host", line.host}, {"timestamp", line.timestamp_ms}, {"message", line.text}}));
      return;
    }
    std::string text;
    if (options.timestamps) text += out.paint(Colour::kDim, format_time(static_cast<double>(line.timestamp_ms) / 1000)) + "  ";
    out.line(text + format_job_line(out, line, name_hosts));
  };

  while (true) {
    const bool over = is_over(json::get_string(job, "TrainingJobStatus"));
    // After asking for the status: an ended job prints no more.
    if (!options.follow) {
      reader.read(print);
      return kSuccess;
    }
    patiently([&] { return reader.read(print); });
    if (over) break;
    std::this_thread::sleep_for(kPoll);
    job = patiently([&] { return connection.sagemaker("DescribeTrainingJob", {{"TrainingJobName", options.name}}); });
  }
  if (!options.common.json) tell_end(job, Terminal(stderr));
  return exit_code_of_job(job);
}

}  // namespace athanor::cli
