#include "platform/cli/request_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "common/utf8.h"
#include "platform/cli/terminal.h"

namespace athanor::cli {
namespace {

constexpr const char* kDefaultInstanceType = "ml.m5.large";
constexpr std::int64_t kDefaultVolume_gb = 30;
constexpr std::int64_t kDefaultMaxRuntime_s = 24 * 3600;
constexpr std::size_t kNameMax = 63;
constexpr std::size_t kArgumentCharactersMax = 256;

std::pair<std::string, std::string> split_pair(const std::string& text, const char* option, const char* form) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw Error(ErrorKind::kInvalid, "Reading {} '{}': write {}.", option, text, form);
  }
  return {text.substr(0, equals), text.substr(equals + 1)};
}

// The member, made when absent. Throws when the file's request has something else there.
json::object& object_at(json::object& in, const char* key) {
  json::value& member = in[key];
  if (member.is_null()) member = json::object();
  if (!member.is_object()) throw Error(ErrorKind::kInvalid, "Reading the request: {} must be an object.", key);
  return member.get_object();
}

json::array& array_at(json::object& in, const char* key) {
  json::value& member = in[key];
  if (member.is_null()) member = json::array();
  if (!member.is_array()) throw Error(ErrorKind::kInvalid, "Reading the request: {} must be a list.", key);
  return member.get_array();
}

template <typename Value>
void set_default(json::object& in, const char* key, const Value& value) {
  if (in.if_contains(key) == nullptr || in.at(key).is_null()) in[key] = value;
}

std::string generated_name(const std::string& image, const std::string& suffix) {
  std::string stem = image.substr(image.rfind('/') + 1);
  stem = stem.substr(0, stem.find(':'));
  std::replace_if(
      stem.begin(), stem.end(), [](char c) { return !isalnum(static_cast<unsigned char>(c)); }, '-');
  while (!stem.empty() && stem.front() == '-') stem.erase(0, 1);
  while (!stem.empty() && stem.back() == '-') stem.pop_back();
  if (stem.empty()) stem = "job";
  return stem.substr(0, kNameMax - suffix.size() - 1) + "-" + suffix;
}

// Hyperparameters are strings to the service; numbers and truths in a file are written as JSON writes them.
std::string as_text(const json::value& value) {
  return value.is_string() ? std::string(value.get_string()) : json::serialize(value);
}

void add_hyperparameters(json::object& request, const SubmitOptions& options, const json::object& from_file) {
  if (from_file.empty() && options.hyperparameters.empty()) return;
  json::object& hyperparameters = object_at(request, "HyperParameters");
  for (const auto& [key, value] : from_file) hyperparameters[key] = as_text(value);
  for (const std::string& text : options.hyperparameters) {
    const auto [key, value] = split_pair(text, "--hyperparameter", "KEY=VALUE");
    hyperparameters[key] = value;
  }
}

// The service takes arguments of one line and at most 256 characters each; its own words for that name no argument.
void check_command(const std::vector<std::string>& command) {
  for (std::size_t i = 0; i < command.size(); ++i) {
    const std::size_t characters = count_characters(command[i]);
    const bool has_lines = command[i].find('\n') != std::string::npos;
    if (characters <= kArgumentCharactersMax && !has_lines) continue;
    throw Error(ErrorKind::kInvalid,
                "athanor submit: {} of the program after `--` has {}; SageMaker takes one line of at most {} "
                "characters. Put it "
                "into a file and send that: --input code=FOLDER -- sh /opt/ml/input/data/code/FILE",
                i == 0 ? "the name" : fmt::format("argument {}", i),
                has_lines ? "several lines" : fmt::format("{} characters", characters), kArgumentCharactersMax);
  }
}

void add_input(json::object& request, const std::string& text, bool sharded, std::vector<LocalInput>& uploads,
               const std::string& upload_to) {
  const auto [name, source] =
      split_pair(text, sharded ? "--input-sharded" : "--input", "CHANNEL=s3://BUCKET/PREFIX or CHANNEL=PATH");
  std::string uri = source;
  if (!source.starts_with("s3://")) {
    uri = upload_to + "/" + name + "/";
    uploads.push_back({source, uri});
  }
  json::object channel = {
      {"ChannelName", name},
      {"DataSource",
       {{"S3DataSource",
         {{"S3DataType", "S3Prefix"},
          {"S3Uri", uri},
          {"S3DataDistributionType", sharded ? "ShardedByS3Key" : "FullyReplicated"}}}}},
  };
  json::array& channels = array_at(request, "InputDataConfig");
  for (json::value& existing : channels) {
    if (!existing.is_object() || json::find_string(existing.get_object(), "ChannelName") != name) continue;
    existing = std::move(channel);
    return;
  }
  channels.push_back(std::move(channel));
}

}  // namespace

BuiltRequest build_request(json::object base, const json::object& hyperparameters, const SubmitOptions& options,
                           const RequestDefaults& defaults) {
  BuiltRequest built;
  json::object& request = built.request = std::move(base);

  json::object& algorithm = object_at(request, "AlgorithmSpecification");
  if (!options.image.empty()) algorithm["TrainingImage"] = options.image;
  if (!options.command.empty()) {
    check_command(options.command);
    set_default(algorithm, "TrainingImage", "athanor/script");
    algorithm["ContainerEntrypoint"] = json::array(options.command.begin(), options.command.end());
    algorithm.erase("ContainerArguments");
  }
  const auto image = json::find_string(algorithm, "TrainingImage");
  if (!image && !json::find_string(algorithm, "AlgorithmName")) {
    throw Error(
        ErrorKind::kInvalid,
        "athanor submit needs to know what to run: --image athanor/llm, or a program after `--`, or --request FILE.");
  }
  set_default(algorithm, "TrainingInputMode", "File");

  if (!options.name.empty()) request["TrainingJobName"] = options.name;
  set_default(request, "TrainingJobName", generated_name(image.value_or("job"), defaults.name_suffix));
  const std::string name = json::get_string(request, "TrainingJobName");
  if (!options.role.empty()) request["RoleArn"] = options.role;
  set_default(request, "RoleArn", defaults.role_arn);

  const std::string home = "s3://" + defaults.bucket + "/" + name + "/input-" + defaults.name_suffix;
  for (const std::string& input : options.inputs) add_input(request, input, false, built.uploads, home);
  for (const std::string& input : options.sharded_inputs) add_input(request, input, true, built.uploads, home);

  json::object& output = object_at(request, "OutputDataConfig");
  if (!options.output.empty()) output["S3OutputPath"] = options.output;
  set_default(output, "S3OutputPath", "s3://" + defaults.bucket);
  if (options.uncompressed) output["CompressionType"] = "NONE";
  if (!options.checkpoints.empty()) object_at(request, "CheckpointConfig")["S3Uri"] = options.checkpoints;

  json::object& resources = object_at(request, "ResourceConfig");
  if (options.instances) resources["InstanceCount"] = *options.instances;
  if (!options.instance_type.empty()) resources["InstanceType"] = options.instance_type;
  set_default(resources, "InstanceCount", 1);
  set_default(resources, "InstanceType", kDefaultInstanceType);
  set_default(resources, "VolumeSizeInGB", kDefaultVolume_gb);

  json::object& stopping = object_at(request, "StoppingCondition");
  if (!options.max_runtime.empty()) stopping["MaxRuntimeInSeconds"] = parse_duration(options.max_runtime);
  set_default(stopping, "MaxRuntimeInSeconds", kDefaultMaxRuntime_s);

  add_hyperparameters(request, options, hyperparameters);
  for (const std::string& text : options.environment) {
    const auto [key, value] = split_pair(text, "--env", "NAME=VALUE");
    object_at(request, "Environment")[key] = value;
  }
  for (const std::string& text : options.metrics) {
    const auto [metric, regex] = split_pair(text, "--metric", "NAME=REGEX");
    // Looked up anew: members move when their object grows.
    array_at(object_at(request, "AlgorithmSpecification"), "MetricDefinitions")
        .push_back(json::object{{"Name", metric}, {"Regex", regex}});
  }
  return built;
}

}  // namespace athanor::cli
