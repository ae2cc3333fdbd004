#include "platform/node/contract_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "common/error.h"
#include "common/json.h"

namespace athanor::node {
namespace {

using testing::ElementsAre;

Prepare prepare(std::uint32_t index, std::uint32_t count) {
  Prepare all;
  all.job.name = "a-job";
  all.job.arn = "arn:aws:sagemaker:us-east-1:000000000000:training-job/a-job";
  all.job.region = "us-east-1";
  all.job.image = "athanor/script";
  all.job.entrypoint = {"python3", "train.py"};
  all.instance.index = index;
  all.instance.count = count;
  all.instance.instance_type = "ml.c5.xlarge";
  return all;
}

std::map<std::string, std::string> environment(const Prepare& given) {
  const Program program = contract_program(given, "http://169.254.170.2:9100");
  return {program.environment.begin(), program.environment.end()};
}

TEST(ContractFiles, HyperparametersAreAllStrings) {
  Prepare given = prepare(0, 1);
  EXPECT_EQ(hyperparameters_json(given.job), "{}");
  given.job.hyperparameters = {{"epochs", "3"}, {"text", "a \"b\"\n"}};
  EXPECT_EQ(json::parse(hyperparameters_json(given.job), "x"),
            json::parse(R"({"epochs":"3","text":"a \"b\"\n"})", "y"));
}

TEST(ContractFiles, InputDataConfigAsTheServiceWritesIt) {
  Prepare given = prepare(0, 1);
  given.job.channels = {{"train", "s3://b/p", false, "File", "", "None"},
                        {"test", "s3://b/q", true, "File", "text/csv", "None"}};
  EXPECT_EQ(json::parse(input_data_config_json(given.job), "x"), json::parse(R"({
    "train": {"TrainingInputMode":"File","S3DistributionType":"FullyReplicated","RecordWrapperType":"None"},
    "test": {"TrainingInputMode":"File","S3DistributionType":"ShardedByS3Key","RecordWrapperType":"None","ContentType":"text/csv"}})",
                                                                             "y"));
}

TEST(ContractFiles, ResourceConfigSortsHostsAsText) {
  const json::value config = json::parse(resource_config_json(prepare(1, 11)), "x");
  EXPECT_EQ(config.at("current_host"), "algo-2");
  EXPECT_EQ(config.at("current_instance_type"), "ml.c5.xlarge");
  EXPECT_EQ(config.at("current_group_name"), "homogeneousCluster");
  EXPECT_EQ(config.at("network_interface_name"), "eth0");
  EXPECT_TRUE(config.at("topology").is_null());
  EXPECT_EQ(
      json::serialize(config.at("hosts")),
      R"(["algo-1","algo-10","algo-11","algo-2","algo-3","algo-4","algo-5","algo-6","algo-7","algo-8","algo-9"])");
  EXPECT_EQ(config.at("instance_groups").at(0).at("instance_group_name"), "homogeneousCluster");
  EXPECT_EQ(config.at("instance_groups").at(0).at("hosts"), config.at("hosts"));
}

TEST(ContractProgram, EntrypointAndArgumentsFollowTheContract) {
  Prepare given = prepare(0, 1);
  const auto command = [&] { return contract_program(given, "e").arguments; };
  EXPECT_THAT(command(), ElementsAre("python3", "train.py")) << "an entrypoint alone has no arguments";
  given.job.arguments = {"--fast"};
  EXPECT_THAT(command(), ElementsAre("python3", "train.py", "--fast"));
  given.job.image = "athanor/llm";
  given.job.entrypoint.clear();
  EXPECT_THAT(command(), ElementsAre(kEngineProgram, "--fast")) << "arguments replace `train`";
  given.job.arguments.clear();
  EXPECT_THAT(command(), ElementsAre(kEngineProgram, "train"));
}

TEST(ContractProgram, WhatCannotRunIsTheClientsError) {
  Prepare given = prepare(0, 1);
  given.job.entrypoint.clear();
  for (const char* image : {"athanor/script", "pytorch:2.1", "", "athanor/llm:latest", "athanor/llm:v99",
                            "example.com/athanor/llm", "athanor/llm@sha256:0"}) {
    given.job.image = image;
    try {
      contract_program(given, "e");
      FAIL() << image;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find("ClientError: "), 0u);
    }
  }
}

TEST(ContractProgram, ThePlatformsVariablesStandWhateverTheRequestSets) {
  Prepare given = prepare(1, 2);
  given.job.environment = {{"MINE", "1"},
                           {"PATH", "/mine"},
                           {"TRAINING_JOB_NAME", "forged"},
                           {"ATHANOR_RANK", "9"},
                           {"ATHANOR_CHECKPOINTS", "/none"}};
  const auto variables = environment(given);
  EXPECT_EQ(variables.at("MINE"), "1");
  EXPECT_EQ(variables.at("PATH"), "/mine");
  EXPECT_EQ(variables.at("TRAINING_JOB_NAME"), "a-job");
  EXPECT_EQ(variables.at("TRAINING_JOB_ARN"), given.job.arn);
  EXPECT_EQ(variables.at("AWS_REGION"), "us-east-1");
  EXPECT_EQ(variables.at("AWS_ENDPOINT_URL"), "http://169.254.170.2:9100");
  EXPECT_EQ(variables.at("AWS_CONTAINER_CREDENTIALS_FULL_URI"), "http://127.0.0.1:9170/credentials");
  EXPECT_EQ(variables.at("ATHANOR_RANK"), "1");
  EXPECT_EQ(variables.at("ATHANOR_WORLD_SIZE"), "2");
  EXPECT_EQ(variables.at("ATHANOR_RENDEZVOUS"), "algo-1:7700");
  EXPECT_EQ(variables.count("ATHANOR_CHECKPOINTS"), 0U) << "this job keeps none";
  given.job.checkpoint_uri = "s3://bucket/checkpoints";
  EXPECT_EQ(environment(given).at("ATHANOR_CHECKPOINTS"), "/opt/ml/checkpoints");
  given.job.checkpoint_path = "/opt/ml/mine/";
  EXPECT_EQ(environment(given).at("ATHANOR_CHECKPOINTS"), "/opt/ml/mine");
}

TEST(ContractFiles, CheckpointPathsThatWouldHideSomethingAreRefused) {
  JobSpec job;
  EXPECT_EQ(checkpoint_path(job), "/opt/ml/checkpoints");
  for (const char* good : {"/opt/ml/checkpoints/", "/opt/ml/mine/deep", "/opt/ml/models"}) {
    job.checkpoint_path = good;
    EXPECT_NO_THROW(checkpoint_path(job)) << good;
  }
  for (const char* bad : {"/", "relative", "/opt/ml", "/opt/ml/model", "/opt/ml/input/data", "/opt/ml/../x", "/proc/x",
                          "/a//b", "/opt/ml/a//b", "/data/ckpt", "/opt/mlx"}) {
    job.checkpoint_path = bad;
    EXPECT_THROW(checkpoint_path(job), Error) << bad;
  }
}

}  // namespace
}  // namespace athanor::node
