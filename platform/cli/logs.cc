// athanor logs.
#include <fmt/format.h>

#include <chrono>
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

// Throws kNotFound when the job has no such host.
void check_host(const json::object& job, const std::string& host) {
  const json::object* resources = json::find_object(job, "ResourceConfig");
  const std::int64_t count = resources == nullptr ? 1 : json::find_int(*resources, "InstanceCount").value_or(1);
  for (std::int64_t i = 1; i <= count; ++i) {
    if (host == fmt::format("algo-{}", i)) return;
  }
  throw Error(ErrorKind::kNotFound, "Reading the log of {}: it has no host '{}', but algo-1{}.",
              json::get_string(job, "TrainingJobName"), host, count == 1 ? "" : fmt::format(" to algo-{}", count));
}

}  // namespace

int logs(const LogsOptions& options) {
  Connection connection(find_place(options.common.data_dir));
  const Terminal out(stdout);
  json::object job = connection.sagemaker("DescribeTrainingJob", {{"TrainingJobName", options.name}});
  if (!options.host.empty()) check_host(job, options.host);
  const bool name_hosts = options.host.empty() && has_several_hosts(job);

  JobLogs reader(connection, options.name, options.host);
  const auto print = [&](const JobLine& line) {
    if (options.common.json) {
      out.line(
          json::serialize(json::object{{"host", line.host}, {"timestamp", line.timestamp_ms}, {"message", line.text}}));
      return;
    }
    std::string text;
    if (options.timestamps) {
      text += out.paint(Colour::kDim, format_time(static_cast<double>(line.timestamp_ms) / 1000)) + "  ";
    }
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
