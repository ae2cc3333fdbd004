#include "platform/api/honoured.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>
#include <set>
#include <span>
#include <vector>

#include "platform/api/service_error.h"
#include "platform/wire/header_text.h"

namespace athanor::api {

namespace {

// A member of the request, by its path ("[]" for any item of a list), and the values of it that we honour, as JSON.
struct Rule {
  std::string_view path;
  std::vector<std::string_view> values = {};  // none: any value, and all that is below
  bool required = false;                      // by the service: no advice to leave it out
};

const std::vector<Rule>& rules() {
  static const std::vector<Rule> kRules = {
      {"TrainingJobName"},
      {"RoleArn"},
      {"HyperParameters"},
      {"Environment"},
      {"Tags"},
      {"AlgorithmSpecification.TrainingImage"},
      {"AlgorithmSpecification.TrainingInputMode", {R"("File")"}, true},
      {"AlgorithmSpecification.MetricDefinitions"},
      {"AlgorithmSpecification.EnableSageMakerMetricsTimeSeries", {"false"}},
      {"AlgorithmSpecification.ContainerEntrypoint"},
      {"AlgorithmSpecification.ContainerArguments"},
      {"InputDataConfig[].ChannelName"},
      {"InputDataConfig[].DataSource.S3DataSource.S3DataType", {R"("S3Prefix")"}, true},
      {"InputDataConfig[].DataSource.S3DataSource.S3Uri"},
      {"InputDataConfig[].DataSource.S3DataSource.S3DataDistributionType"},
      {"InputDataConfig[].ContentType"},
      {"InputDataConfig[].CompressionType", {R"("None")"}},
      {"InputDataConfig[].RecordWrapperType", {R"("None")"}},
      {"InputDataConfig[].InputMode", {R"("File")"}},
      {"OutputDataConfig.S3OutputPath"},
      {"OutputDataConfig.KmsKeyId", {R"("")"}},
      {"OutputDataConfig.CompressionType"},
      {"ResourceConfig.InstanceType"},
      {"ResourceConfig.InstanceCount"},
      {"ResourceConfig.VolumeSizeInGB"},
      {"ResourceConfig.KeepAlivePeriodInSeconds", {"0"}},
      {"StoppingCondition.MaxRuntimeInSeconds"},
      {"CheckpointConfig.S3Uri"},
      {"CheckpointConfig.LocalPath"},
      {"EnableNetworkIsolation", {"false"}},
      {"EnableInterContainerTrafficEncryption", {"false"}},
      {"EnableManagedSpotTraining", {"false"}},
      {"ProfilerConfig.DisableProfiler", {"true"}},
      {"RemoteDebugConfig.EnableRemoteDebug", {"false"}},
      {"InfraCheckConfig.EnableInfraCheck", {"false"}},
      {"SessionChainingConfig.EnableSessionTagChaining", {"false"}},
  };
  return kRules;
}

// 28 days, which the model does not tell.
constexpr std::int64_t kRuntimeMax_s = 28 * 24 * 3600;

bool is_empty(const json::value& value) {
  return value.is_null() || (value.is_object() && value.get_object().empty()) ||
         (value.is_array() && value.get_array().empty());
}

[[noreturn]] void refuse(const std::string& path, const Rule* rule) {
  std::string hint = "Leave it out";
  if (rule != nullptr) {
    hint =
        fmt::format("{} to {}", rule->required ? "Set it" : "Leave it out or set it", fmt::join(rule->values, " or "));
  }
  throw ServiceError("ValidationException", fmt::format("{} is not supported by this version of Athanor{}. {}.", path,
                                                        rule != nullptr ? " with this value" : "", hint));
}

// `shown` is `path` with the numbers of items, from 0.
void walk(const json::value& value, const std::string& path, const std::string& shown) {
  if (is_empty(value)) return;
  const auto exact = std::find_if(rules().begin(), rules().end(), [&](const Rule& rule) { return rule.path == path; });
  if (exact != rules().end()) {
    if (exact->values.empty()) return;
    const std::string text = json::serialize(value);
    if (std::find(exact->values.begin(), exact->values.end(), text) == exact->values.end()) refuse(shown, &*exact);
    return;
  }
  const std::string below = value.is_array() ? path + "[]" : path + ".";
  const bool leads_on =
      (value.is_object() || value.is_array()) &&
      std::any_of(rules().begin(), rules().end(), [&](const Rule& rule) { return rule.path.starts_with(below); });
  if (!leads_on) refuse(shown, nullptr);
  if (value.is_array()) {
    std::size_t number = 0;
    for (const auto& item : value.get_array()) walk(item, below, fmt::format("{}[{}]", shown, number++));
  } else {
    for (const auto& [name, member] : value.get_object()) {
      walk(member, below + std::string(name), fmt::format("{}.{}", shown, std::string_view(name)));
    }
  }
}

[[noreturn]] void invalid(const std::string& message) { throw ServiceError("ValidationException", message); }

[[noreturn]] void missing(std::string_view member) {
  invalid(fmt::format(
      "1 validation error detected: Value null at '{}' failed to satisfy constraint: Member must not be null", member));
}

void check_s3_uri(const std::string& uri, std::string_view member) {
  static const RE2 kUri(R"(s3://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9](/.*)?)");
  if (!RE2::FullMatch(uri, kUri)) {
    invalid(fmt::format("Invalid S3 URI '{}' in {}: it must be s3://BUCKET or s3://BUCKET/PREFIX.", uri, member));
  }
}

// What a program is given is ended by a zero byte, so none can hold one.
void check_no_zero(const json::value& text, std::string_view member) {
  if (!text.is_string() || std::string_view(text.get_string()).find('\0') == std::string_view::npos) return;
  invalid(fmt::format(
      "1 validation error detected: Value at '{}' failed to satisfy constraint: Member must not contain the "
      "character U+0000, which no program can be given",
      member));
}

void check_algorithm(const json::object& algorithm) {
  const auto image = json::find_string(algorithm, "TrainingImage");
  if (!image) missing("algorithmSpecification.trainingImage");
  const std::string name = training_image(*image);
  if (name != "athanor/llm" && name != "athanor/script") {
    invalid(
        fmt::format("Cannot find the training image {}. Images here: athanor/llm (our engine), athanor/script (runs "
                    "ContainerEntrypoint on the host's root); of each there is one, with no tag or with ':latest'.",
                    *image));
  }
  if (name == "athanor/script" && json::find_array(algorithm, "ContainerEntrypoint") == nullptr) {
    invalid("The training image athanor/script needs AlgorithmSpecification.ContainerEntrypoint: the program to run.");
  }
  for (const auto& [list, member] : {std::pair{"ContainerEntrypoint", "algorithmSpecification.containerEntrypoint"},
                                     std::pair{"ContainerArguments", "algorithmSpecification.containerArguments"}}) {
    if (const auto* words = json::find_array(algorithm, list)) {
      for (const auto& word : *words) check_no_zero(word, member);
    }
  }
  if (const auto* metrics = json::find_array(algorithm, "MetricDefinitions")) {
    for (const auto& metric : *metrics) {
      const std::string text = json::get_string(metric.as_object(), "Regex");
      const RE2 regex(text, RE2::Quiet);
      if (!regex.ok()) invalid(fmt::format("Invalid regex '{}' in MetricDefinitions: {}", text, regex.error()));
    }
  }
}

void check_tags(const json::array& tags) {
  std::set<std::string> keys;
  for (const auto& tag : tags) {
    const std::string key = json::get_string(tag.as_object(), "Key");
    if (wire::lower_case(key).starts_with("aws:")) {
      invalid(fmt::format("The tag key '{}' is reserved: AWS keeps the prefix 'aws:' for itself.", key));
    }
    if (!keys.insert(key).second) invalid(fmt::format("Tag keys must be unique: '{}' is given more than once.", key));
  }
}

void check_channels(const json::array& channels) {
  std::set<std::string> names;
  for (const auto& item : channels) {
    const auto& channel = item.as_object();
    const std::string name = json::get_string(channel, "ChannelName");
    if (!names.insert(name).second) {
      invalid(fmt::format("Channel names must be unique: '{}' is given more than once.", name));
    }
    if (name == "." || name == "..") invalid(fmt::format("'{}' cannot be a channel's name.", name));
    const auto* source = json::find_object(channel, "DataSource");
    const auto* s3 = source == nullptr ? nullptr : json::find_object(*source, "S3DataSource");
    if (s3 == nullptr) missing(fmt::format("inputDataConfig.{}.member.dataSource.s3DataSource", names.size()));
    check_s3_uri(json::get_string(*s3, "S3Uri"), fmt::format("channel '{}'", name));
  }
}

}  // namespace

std::string training_image(std::string_view given) {
  constexpr std::string_view kTag = ":latest";
  if (given.ends_with(kTag)) given.remove_suffix(kTag.size());
  return std::string(given);
}

void refuse_what_is_not_honoured(const json::object& request) {
  for (const auto& [name, member] : request) walk(member, std::string(name), std::string(name));
}

void check_meaning(const json::object& request) {
  const auto* algorithm = json::find_object(request, "AlgorithmSpecification");
  if (algorithm == nullptr) missing("algorithmSpecification");
  check_algorithm(*algorithm);
  if (const auto* channels = json::find_array(request, "InputDataConfig")) check_channels(*channels);
  if (const auto* tags = json::find_array(request, "Tags")) check_tags(*tags);
  if (const auto* environment = json::find_object(request, "Environment")) {
    for (const auto& [name, value] : *environment) check_no_zero(value, "environment");
  }
  if (const auto* output = json::find_object(request, "OutputDataConfig")) {
    check_s3_uri(json::get_string(*output, "S3OutputPath"), "OutputDataConfig.S3OutputPath");
  }
  const auto* resources = json::find_object(request, "ResourceConfig");
  if (resources == nullptr) missing("resourceConfig");
  if (!json::find_string(*resources, "InstanceType")) missing("resourceConfig.instanceType");
  const auto instances = json::find_int(*resources, "InstanceCount");
  if (!instances) missing("resourceConfig.instanceCount");
  if (*instances < 1) invalid(fmt::format("ResourceConfig.InstanceCount is {}; at least 1 is needed.", *instances));
  const auto* stopping = json::find_object(request, "StoppingCondition");
  if (stopping == nullptr) missing("stoppingCondition");
  if (const auto runtime_s = json::find_int(*stopping, "MaxRuntimeInSeconds"); runtime_s.value_or(0) > kRuntimeMax_s) {
    invalid(fmt::format(
        "1 validation error detected: Value '{}' at 'stoppingCondition.maxRuntimeInSeconds' failed to satisfy "
        "constraint: Member must have value less than or equal to {}",
        *runtime_s, kRuntimeMax_s));
  }
  if (const auto* checkpoints = json::find_object(request, "CheckpointConfig");
      checkpoints != nullptr && !checkpoints->empty()) {
    check_s3_uri(json::get_string(*checkpoints, "S3Uri"), "CheckpointConfig.S3Uri");
    const std::string path = json::find_string(*checkpoints, "LocalPath").value_or("/opt/ml/checkpoints");
    static const RE2 kFolder(R"(/opt/ml/[A-Za-z0-9_\-][A-Za-z0-9_.\-]*(/[A-Za-z0-9_\-][A-Za-z0-9_.\-]*)*/?)");
    static const RE2 kTaken(R"(/opt/ml/(input|model|output|athanor)(/.*)?)");
    if (!RE2::FullMatch(path, kFolder) || RE2::FullMatch(path, kTaken)) {
      invalid(
          fmt::format("Invalid CheckpointConfig.LocalPath '{}': it must be a folder of its own below /opt/ml, such as "
                      "/opt/ml/checkpoints.",
                      path));
    }
  }
}

}  // namespace athanor::api
