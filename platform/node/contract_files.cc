#include "platform/node/contract_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "common/error.h"
#include "common/json.h"
#include "common/relative_path.h"

namespace athanor::node {

namespace {

constexpr const char* kDefaultCheckpoints = "/opt/ml/checkpoints";
constexpr const char* kGroup = "homogeneousCluster";

std::vector<std::string> command(const JobSpec& job) {
  std::vector<std::string> words = job.entrypoint;
  if (job.image == "athanor/llm") {
    if (words.empty()) {
      words = {kEngineProgram};
      if (job.arguments.empty()) words.emplace_back("train");
    }
  } else if (job.image == "athanor/script") {
    if (words.empty()) {
      throw Error(ErrorKind::kInvalid,
                  "ClientError: The image athanor/script has no program of its own: give "
                  "AlgorithmSpecification.ContainerEntrypoint, for example [\"/usr/bin/python3\", \"…\"].");
    }
  } else {
    throw Error(
        ErrorKind::kInvalid,
        "ClientError: The training image \"{}\" is not available here. Available are athanor/llm and athanor/script.",
        job.image);
  }
  words.insert(words.end(), job.arguments.begin(), job.arguments.end());
  return words;
}

}  // namespace

std::string hyperparameters_json(const JobSpec& job) {
  json::object all;
  for (const auto& [name, value] : job.hyperparameters) all[name] = value;
  return json::serialize(all);
}

std::string input_data_config_json(const JobSpec& job) {
  json::object all;
  for (const Channel& channel : job.channels) {
    json::object one;
    one["TrainingInputMode"] = channel.input_mode;
    one["S3DistributionType"] = channel.sharded ? "ShardedByS3Key" : "FullyReplicated";
    one["RecordWrapperType"] = channel.record_wrapper.empty() ? "None" : channel.record_wrapper;
    if (!channel.content_type.empty()) one["ContentType"] = channel.content_type;
    all[channel.name] = std::move(one);
  }
  return json::serialize(all);
}

std::string resource_config_json(const Prepare& prepare) {
  const Instance& instance = prepare.instance;
  std::vector<std::string> names;
  for (std::uint32_t i = 0; i < instance.count; ++i) names.push_back(Instance::host_name(i));
  std::sort(names.begin(), names.end());  // as text, as the service does: algo-10 before algo-2
  json::array hosts;
  for (const std::string& name : names) hosts.emplace_back(name);
  json::object group;
  group["instance_group_name"] = kGroup;
  group["instance_type"] = instance.instance_type;
  group["hosts"] = hosts;
  json::object all;
  all["current_host"] = instance.host();
  all["current_instance_type"] = instance.instance_type;
  all["current_group_name"] = kGroup;
  all["hosts"] = hosts;
  all["instance_groups"] = json::array{std::move(group)};
  all["network_interface_name"] = "eth0";
  all["topology"] = nullptr;
  return json::serialize(all);
}

void make_contract_folders(Files& files, const std::string& ml) {
  for (const char* folder : {"/input/config", "/input/data", "/model", "/output/data", "/athanor"}) {
    files.make_folders(ml + folder, 0755);
  }
}

void write_contract_files(Files& files, const std::string& ml, const Prepare& prepare) {
  make_contract_folders(files, ml);
  for (const Channel& channel : prepare.job.channels) files.make_folders(ml + "/input/data/" + channel.name, 0755);
  const auto write = [&](const std::string& path, const std::string& text) {
    files.open(ml + path, Files::Open::kTruncate, 0644)->append(text);
  };
  write("/input/config/hyperparameters.json", hyperparameters_json(prepare.job));
  write("/input/config/inputdataconfig.json", input_data_config_json(prepare.job));
  write("/input/config/resourceconfig.json", resource_config_json(prepare));
  if (!prepare.job.ca_bundle.empty()) write("/athanor/ca.pem", prepare.job.ca_bundle);
}

std::string checkpoint_path(const JobSpec& job) {
  std::string path = job.checkpoint_path.empty() ? kDefaultCheckpoints : job.checkpoint_path;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  constexpr std::string_view kBelow = "/opt/ml/";
  bool fits = path.starts_with(kBelow) && is_relative_path(std::string_view(path).substr(kBelow.size()));
  for (const std::string taken : {"/opt/ml/input", "/opt/ml/model", "/opt/ml/output", "/opt/ml/athanor"}) {
    if (path == taken || path.starts_with(taken + "/")) fits = false;
  }
  if (!fits) {
    throw Error(ErrorKind::kInvalid, "ClientError: CheckpointConfig.LocalPath \"{}\" cannot hold checkpoints", path);
  }
  return path;
}

Program contract_program(const Prepare& prepare, const std::string& endpoint) {
  const JobSpec& job = prepare.job;
  Program program;
  program.arguments = command(job);
  // What an image would bring; the request's Environment may change it.
  std::map<std::string, std::string> environment = {
      {"PATH", "/opt/athanor/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
      {"HOME", std::string("/home/") + kSandboxUser},
      {"USER", kSandboxUser},
      {"LOGNAME", kSandboxUser},
      {"SHELL", "/bin/sh"},
      {"LANG", "C.UTF-8"},
      {"PYTHONUNBUFFERED", "1"},  // a line must reach the logs when it is printed
      {"AWS_ENDPOINT_URL", endpoint},
      {"AWS_DEFAULT_REGION", job.region},
  };
  if (!job.ca_bundle.empty()) environment["AWS_CA_BUNDLE"] = "/opt/ml/athanor/ca.pem";
  for (const auto& [name, value] : job.environment) environment[name] = value;
  // What the platform says, whatever else was set.
  environment["TRAINING_JOB_NAME"] = job.name;
  environment["TRAINING_JOB_ARN"] = job.arn;
  environment["AWS_REGION"] = job.region;
  environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = fmt::format("http://127.0.0.1:{}/credentials", kCredentialsPort);
  environment["ATHANOR_CONTRACT"] = "1";
  environment["ATHANOR_RANK"] = std::to_string(prepare.instance.index);
  environment["ATHANOR_WORLD_SIZE"] = std::to_string(prepare.instance.count);
  environment["ATHANOR_RENDEZVOUS"] = fmt::format("{}:{}", Instance::host_name(0), kRendezvousPort);
  environment["ATHANOR_GENERATION"] = "0";
  environment["ATHANOR_SOCKET"] = "/opt/ml/athanor/agent.sock";
  environment.erase("ATHANOR_CHECKPOINTS");
  if (!job.checkpoint_uri.empty()) environment["ATHANOR_CHECKPOINTS"] = checkpoint_path(job);
  program.environment.assign(environment.begin(), environment.end());
  return program;
}

}  // namespace athanor::node
