// athanor list, describe, stop, delete.
#include <fmt/format.h>

#include <algorithm>

#include "platform/cli/commands.h"
#include "platform/cli/connection.h"
#include "platform/cli/exit_code.h"
#include "platform/cli/interrupt_note.h"
#include "platform/cli/terminal.h"
#include "platform/cli/watch.h"

namespace athanor::cli {
namespace {

constexpr std::int64_t kPageMax = 100;  // the service's own

// "key  value" lines under one another.
class Facts {
 public:
  explicit Facts(const Terminal& out) : out_(out) {}
  void add(const std::string& key, const std::string& value, Colour colour = Colour::kPlain) {
    if (value.empty()) return;
    out_.line(out_.paint(Colour::kDim, fmt::format("{:<17} ", out_.foreign(key))) +
              out_.paint(colour, out_.foreign(value)));
  }

 private:
  const Terminal& out_;
};

std::string joined(const json::array* words) {
  std::vector<std::string> parts;
  if (words != nullptr) {
    for (const json::value& word : *words) parts.emplace_back(word.as_string());
  }
  return fmt::format("{}", fmt::join(parts, " "));
}

void show_channels(const json::object& description, Facts& facts) {
  const json::array* channels = json::find_array(description, "InputDataConfig");
  if (channels == nullptr) return;
  for (const json::value& item : *channels) {
    const json::object& channel = item.as_object();
    const json::object* source = json::find_object(channel, "DataSource");
    const json::object* s3 = source == nullptr ? nullptr : json::find_object(*source, "S3DataSource");
    if (s3 == nullptr) continue;
    const bool sharded = json::find_string(*s3, "S3DataDistributionType").value_or("") == "ShardedByS3Key";
    facts.add("input " + json::get_string(channel, "ChannelName"),
              json::get_string(*s3, "S3Uri") + (sharded ? "  (sharded)" : ""));
  }
}

void show(const json::object& job, const Terminal& out) {
  Facts facts(out);
  const std::string status = json::get_string(job, "TrainingJobStatus");
  const std::string secondary = json::get_string(job, "SecondaryStatus");
  facts.add("job", json::get_string(job, "TrainingJobName"), Colour::kBold);
  facts.add("status", status == secondary ? status : status + " (" + secondary + ")", colour_of_status(status));
  facts.add("reason", json::find_string(job, "FailureReason").value_or(""), Colour::kRed);
  facts.add("created", format_time(json::find_double(job, "CreationTime").value_or(0)));
  facts.add("took", time_taken(job));
  if (const auto billable = json::find_int(job, "BillableTimeInSeconds")) {
    facts.add("trained", format_duration(*billable));
  }
  if (const json::object* algorithm = json::find_object(job, "AlgorithmSpecification")) {
    facts.add("image", json::find_string(*algorithm, "TrainingImage").value_or(""));
    const std::string entrypoint = joined(json::find_array(*algorithm, "ContainerEntrypoint"));
    const std::string arguments = joined(json::find_array(*algorithm, "ContainerArguments"));
    facts.add("program",
              (entrypoint + (entrypoint.empty() || arguments.empty() ? "" : " ") + arguments).substr(0, 200));
  }
  if (const json::object* resources = json::find_object(job, "ResourceConfig")) {
    facts.add("instances", fmt::format("{} × {}", json::find_int(*resources, "InstanceCount").value_or(1),
                                       json::find_string(*resources, "InstanceType").value_or("?")));
  }
  show_channels(job, facts);
  if (const json::object* checkpoints = json::find_object(job, "CheckpointConfig")) {
    facts.add("checkpoints", json::find_string(*checkpoints, "S3Uri").value_or(""));
  }
  if (const json::object* artifacts = json::find_object(job, "ModelArtifacts")) {
    facts.add("model", json::find_string(*artifacts, "S3ModelArtifacts").value_or(""), Colour::kCyan);
  }
  if (const json::array* metrics = json::find_array(job, "FinalMetricDataList")) {
    for (const json::value& metric : *metrics) {
      facts.add(json::get_string(metric.as_object(), "MetricName"),
                fmt::format("{:.6g}", metric.at("Value").to_number<double>()));
    }
  }
  if (const json::object* hyperparameters = json::find_object(job, "HyperParameters");
      hyperparameters != nullptr && !hyperparameters->empty()) {
    std::vector<std::string> pairs;
    for (const auto& [key, value] : *hyperparameters) {
      pairs.push_back(fmt::format("{}={}", std::string_view(key), std::string_view(value.as_string())));
    }
    facts.add("hyperparameters", fmt::format("{}", fmt::join(pairs, " ")));
  }
  const json::array* transitions = json::find_array(job, "SecondaryStatusTransitions");
  if (transitions == nullptr) return;
  out.line("");
  std::vector<std::vector<Cell>> rows = {{{"SINCE"}, {"STATUS"}, {"FOR", Colour::kPlain, true}, {"MESSAGE"}}};
  for (const json::value& item : *transitions) {
    const json::object& one = item.as_object();
    const double start = json::find_double(one, "StartTime").value_or(0);
    const auto end = json::find_double(one, "EndTime");
    const std::string name = json::get_string(one, "Status");
    rows.push_back({{format_time(start)},
                    {name, colour_of_status(name)},
                    {end ? fmt::format("{:.1f} s", *end - start) : "", Colour::kPlain, true},
                    {json::find_string(one, "StatusMessage").value_or("")}});
  }
  out.write(format_table(out, rows));
}

void show_progress(const json::object& progress, const Terminal& out) {
  if (progress.empty()) return;
  Facts facts(out);
  out.line("");
  for (const auto& [key, value] : progress) facts.add(key, fmt::format("{:.6g}", value.to_number<double>()));
}

}  // namespace

int list(const ListOptions& options) {
  Connection connection(find_place(options.common.data_dir));
  json::array jobs;
  std::string token;
  const auto wanted = static_cast<std::size_t>(std::max<std::int64_t>(options.count, 1));
  do {
    json::object request = {{"SortBy", "CreationTime"}, {"SortOrder", "Descending"}, {"MaxResults", kPageMax}};
    if (!options.status.empty()) request["StatusEquals"] = options.status;
    if (!options.name_contains.empty()) request["NameContains"] = options.name_contains;
    if (!token.empty()) request["NextToken"] = token;
    const json::object page = connection.sagemaker("ListTrainingJobs", request);
    if (const json::array* summaries = json::find_array(page, "TrainingJobSummaries")) {
      for (const json::value& job : *summaries) {
        if (jobs.size() < wanted) jobs.push_back(job);
      }
    }
    token = json::find_string(page, "NextToken").value_or("");
  } while (!token.empty() && jobs.size() < wanted);

  const Terminal out(stdout);
  if (options.common.json) {
    out.line(json::serialize(jobs));
    return kSuccess;
  }
  if (jobs.empty()) {
    Terminal(stderr).line("No training jobs.");
    return kSuccess;
  }
  std::vector<std::vector<Cell>> rows = {{{"NAME"}, {"STATUS"}, {"NOW"}, {"CREATED"}, {"TOOK", Colour::kPlain, true}}};
  for (const json::value& item : jobs) {
    const json::object& job = item.as_object();
    const std::string status = json::get_string(job, "TrainingJobStatus");
    const std::string secondary = json::get_string(job, "SecondaryStatus");
    const double created = json::find_double(job, "CreationTime").value_or(0);
    rows.push_back({{json::get_string(job, "TrainingJobName"), Colour::kBold},
                    {status, colour_of_status(status)},
                    {secondary == status ? "" : secondary},
                    {out.is_terminal() ? format_age(now_s() - created) : format_time(created)},
                    {time_taken(job), Colour::kPlain, true}});
  }
  out.write(format_table(out, rows));
  return kSuccess;
}

int describe(const DescribeOptions& options) {
  Connection connection(find_place(options.common.data_dir));
  const Terminal out(stdout);
  if (options.wait) {
    connection.sagemaker("DescribeTrainingJob", {{"TrainingJobName", options.name}});  // that there is one
    const InterruptNote note(options.name);
    const json::object end =
        options.common.json ? await_job(connection, options.name) : watch_job(connection, options.name, out, false);
    if (options.common.json) {
      out.line(json::serialize(end));
    } else {
      tell_end(end, out);
    }
    return exit_code_of_job(end);
  }
  json::object job = connection.sagemaker("DescribeTrainingJob", {{"TrainingJobName", options.name}});
  const json::object reply = connection.sagemaker("Athanor.GetProgress", {{"TrainingJobName", options.name}});
  const json::object* progress = json::find_object(reply, "Progress");
  if (options.common.json) {
    if (progress != nullptr && !progress->empty()) job["Progress"] = *progress;
    out.line(json::serialize(job));
    return kSuccess;
  }
  show(job, out);
  if (progress != nullptr) show_progress(*progress, out);
  return kSuccess;
}

int stop(const StopOptions& options) {
  Connection connection(find_place(options.common.data_dir));
  connection.sagemaker("StopTrainingJob", {{"TrainingJobName", options.name}});
  const Terminal out(stdout);
  if (!options.wait) {
    if (options.common.json) {
      out.line(json::serialize(connection.sagemaker("DescribeTrainingJob", {{"TrainingJobName", options.name}})));
    } else {
      out.line(options.name + " is being stopped: its program has 120 s to end in order.");
    }
    return kSuccess;
  }
  const json::object end = await_job(connection, options.name);
  if (options.common.json) {
    out.line(json::serialize(end));
  } else {
    tell_end(end, out);
  }
  return kSuccess;
}

int remove(const JobOptions& options) {
  Connection connection(find_place(options.common.data_dir));
  connection.sagemaker("DeleteTrainingJob", {{"TrainingJobName", options.name}});
  const Terminal out(stdout);
  if (options.common.json) {
    out.line(json::serialize(json::object{{"TrainingJobName", options.name}}));
  } else {
    out.line(options.name + " is deleted; what it wrote to S3 stays.");
  }
  return kSuccess;
}

}  // namespace athanor::cli
