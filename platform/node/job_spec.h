// What an instance must know of its job: agent.proto's Prepare as plain data.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace athanor::node {

struct Channel {
  std::string name;
  std::string s3_uri;
  bool sharded = false;
  std::string input_mode;
  std::string content_type;
  std::string record_wrapper;
};

struct MetricDefinition {
  std::string name;
  std::string regex;
};

struct Credentials {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;
  std::int64_t expires_ms = 0;
};

struct JobSpec {
  std::string name;
  std::string arn;
  std::string region;
  std::string image;  // as the API names it, without a tag
  std::vector<std::string> entrypoint;
  std::vector<std::string> arguments;
  std::map<std::string, std::string> environment;
  std::map<std::string, std::string> hyperparameters;
  std::vector<Channel> channels;
  std::string output_path;  // s3://BUCKET/PREFIX
  bool compress_output = true;
  std::string checkpoint_uri;   // empty: none
  std::string checkpoint_path;  // inside the sandbox; empty: /opt/ml/checkpoints
  std::string s3_endpoint;
  Credentials credentials;
  std::vector<MetricDefinition> metrics;
  std::string ca_bundle;
};

struct Instance {
  std::uint32_t index = 0;
  std::uint32_t count = 1;
  std::string instance_type;
  std::vector<std::uint32_t> cpus;
  std::vector<std::string> addresses;  // of algo-1 … algo-count; may be empty when count is 1

  std::string host() const { return host_name(index); }
  static std::string host_name(std::uint32_t index) { return "algo-" + std::to_string(index + 1); }
};

struct Prepare {
  JobSpec job;
  Instance instance;
};

}  // namespace athanor::node
