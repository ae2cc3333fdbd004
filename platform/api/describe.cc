#include "platform/api/describe.h"

#include <cmath>

#include "common/error.h"

namespace athanor::api {

namespace {

double seconds(std::int64_t ms) { return static_cast<double>(ms) / 1000.0; }

// Members that DescribeTrainingJob repeats as they were given.
constexpr const char* kEchoed[] = {"HyperParameters",   "AlgorithmSpecification", "RoleArn",
                                   "InputDataConfig",   "OutputDataConfig",       "ResourceConfig",
                                   "StoppingCondition", "CheckpointConfig",       "Environment",
                                   "RemoteDebugConfig", "InfraCheckConfig",       "ProfilerConfig"};
constexpr const char* kFlags[] = {"EnableNetworkIsolation", "EnableInterContainerTrafficEncryption",
                                  "EnableManagedSpotTraining"};

void set_default(json::object& in, const char* key, json::value fallback) {
  if (const auto* found = in.if_contains(key); found == nullptr || found->is_null()) in[key] = std::move(fallback);
}

void fill_defaults(json::object& reply) {
  if (auto* algorithm = reply.if_contains("AlgorithmSpecification")) {
    set_default(algorithm->as_object(), "EnableSageMakerMetricsTimeSeries", false);
  }
  if (auto* channels = reply.if_contains("InputDataConfig")) {
    for (auto& item : channels->as_array()) {
      auto& channel = item.as_object();
      set_default(channel, "CompressionType", "None");
      set_default(channel, "RecordWrapperType", "None");
      auto* source = channel["DataSource"].as_object().if_contains("S3DataSource");
      if (source != nullptr) set_default(source->as_object(), "S3DataDistributionType", "FullyReplicated");
    }
  }
  if (auto* output = reply.if_contains("OutputDataConfig")) {
    set_default(output->as_object(), "KmsKeyId", "");
    set_default(output->as_object(), "CompressionType", "GZIP");
  }
  if (auto* stopping = reply.if_contains("StoppingCondition")) {
    set_default(stopping->as_object(), "MaxRuntimeInSeconds", 86400);
  }
}

}  // namespace

json::object describe_training_job(const control::Job& job) {
  json::object reply{{"TrainingJobName", job.name},
                     {"TrainingJobArn", job.arn},
                     {"ModelArtifacts", {{"S3ModelArtifacts", job.model_artifacts}}},
                     {"TrainingJobStatus", control::to_string(job.status)},
                     {"SecondaryStatus", control::to_string(job.secondary)}};
  if (!job.failure_reason.empty()) reply["FailureReason"] = job.failure_reason;

  const auto parsed = json::parse(job.request, "the stored request of " + job.name);
  const auto& request = parsed.as_object();
  for (const char* member : kEchoed) {
    if (const auto* value = request.if_contains(member); value != nullptr && !value->is_null()) reply[member] = *value;
  }
  for (const char* flag : kFlags) reply[flag] = json::find_bool(request, flag).value_or(false);
  fill_defaults(reply);

  reply["CreationTime"] = seconds(job.created_ms);
  reply["LastModifiedTime"] = seconds(job.modified_ms);
  if (job.training_start_ms) reply["TrainingStartTime"] = seconds(*job.training_start_ms);
  if (job.training_end_ms) reply["TrainingEndTime"] = seconds(*job.training_end_ms);
  if (job.training_start_ms && job.training_end_ms) {
    const auto duration_s =
        static_cast<std::int64_t>(std::ceil(seconds(*job.training_end_ms - *job.training_start_ms)));
    reply["TrainingTimeInSeconds"] = duration_s;
    reply["BillableTimeInSeconds"] = duration_s;
  }
  json::array transitions;
  for (const auto& transition : job.transitions) {
    json::object row{{"Status", control::to_string(transition.status)}, {"StartTime", seconds(transition.start_ms)}};
    if (transition.end_ms) row["EndTime"] = seconds(*transition.end_ms);
    row["StatusMessage"] = transition.message;
    transitions.push_back(std::move(row));
  }
  reply["SecondaryStatusTransitions"] = std::move(transitions);
  if (!job.final_metrics.empty()) {
    json::array metrics;
    for (const auto& metric : job.final_metrics) {
      metrics.push_back(
          {{"MetricName", metric.name}, {"Value", metric.value}, {"Timestamp", seconds(metric.timestamp_ms)}});
    }
    reply["FinalMetricDataList"] = std::move(metrics);
  }
  return reply;
}

json::object summarize_training_job(const control::Job& job) {
  json::object row{{"TrainingJobName", job.name},
                   {"TrainingJobArn", job.arn},
                   {"CreationTime", seconds(job.created_ms)},
                   {"LastModifiedTime", seconds(job.modified_ms)},
                   {"TrainingJobStatus", control::to_string(job.status)},
                   {"SecondaryStatus", control::to_string(job.secondary)}};
  if (job.training_end_ms) row["TrainingEndTime"] = seconds(*job.training_end_ms);
  return row;
}

}  // namespace athanor::api
