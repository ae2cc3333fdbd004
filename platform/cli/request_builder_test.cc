#include "platform/cli/request_builder.h"

#include <gtest/gtest.h>

#include "common/error.h"

namespace athanor::cli {
namespace {

const RequestDefaults kDefaults{"arn:aws:iam::000000000000:role/athanor", "bucket", "20261124-001328-3f2a"};

BuiltRequest build(const SubmitOptions& options, json::object base = {}, json::object hyperparameters = {}) {
  return build_request(std::move(base), hyperparameters, options, kDefaults);
}

TEST(RequestBuilderTest, AProgramAloneIsEnough) {
  SubmitOptions options;
  options.command = {"echo", "hello"};
  EXPECT_EQ(json::value(build(options).request), json::parse(R"({
    "AlgorithmSpecification": {"TrainingImage": "athanor/script", "ContainerEntrypoint": ["echo", "hello"], "TrainingInputMode": "File"},
    "TrainingJobName": "script-20261124-001328-3f2a",
    "RoleArn": "arn:aws:iam::000000000000:role/athanor",
    "OutputDataConfig": {"S3OutputPath": "s3://bucket"},
    "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 30},
    "StoppingCondition": {"MaxRuntimeInSeconds": 86400}
  })",
                                                             "the expectation"));
}

TEST(RequestBuilderTest, OptionsAreLaidOverTheFile) {
  SubmitOptions options;
  options.name = "mine";
  options.instances = 2;
  options.max_runtime = "2h";
  options.hyperparameters = {"steps=20", "formula=a=b"};
  options.metrics = {"loss=loss ([0-9.]+)"};
  const json::object base =
      json::parse(R"({"TrainingJobName": "theirs", "AlgorithmSpecification": {"TrainingImage": "athanor/llm",
    "TrainingInputMode": "File"}, "HyperParameters": {"steps": "10", "seed": "1"}, "ResourceConfig": {"VolumeSizeInGB": 5}})",
                  "")
          .as_object();
  const json::object request = build(options, base, {{"steps", 15}, {"tie", true}}).request;
  EXPECT_EQ(request.at("TrainingJobName"), "mine");
  EXPECT_EQ(request.at("HyperParameters"),
            json::value({{"steps", "20"}, {"seed", "1"}, {"tie", "true"}, {"formula", "a=b"}}));
  EXPECT_EQ(request.at("ResourceConfig").at("InstanceCount"), 2);
  EXPECT_EQ(request.at("ResourceConfig").at("VolumeSizeInGB"), 5);
  EXPECT_EQ(request.at("StoppingCondition").at("MaxRuntimeInSeconds"), 7200);
  EXPECT_EQ(request.at("AlgorithmSpecification").at("MetricDefinitions").at(0).at("Regex"), "loss ([0-9.]+)");
}

TEST(RequestBuilderTest, LocalInputsAreUploadedBelowTheJob) {
  SubmitOptions options;
  options.image = "athanor/llm:1";
  options.inputs = {"train=corpus", "validation=s3://else/where"};
  options.sharded_inputs = {"parts=/data/parts"};
  const BuiltRequest built = build(options);
  const std::string home = "s3://bucket/llm-20261124-001328-3f2a/input-20261124-001328-3f2a/";
  ASSERT_EQ(built.uploads.size(), 2u);
  EXPECT_EQ(built.uploads[0].path, "corpus");
  EXPECT_EQ(built.uploads[0].s3_uri, home + "train/");
  const auto source = [&](std::size_t i) {
    return built.request.at("InputDataConfig").at(i).at("DataSource").at("S3DataSource");
  };
  EXPECT_EQ(source(0).at("S3Uri").as_string(), home + "train/");
  EXPECT_EQ(source(1).at("S3Uri"), "s3://else/where");
  EXPECT_EQ(source(2).at("S3DataDistributionType"), "ShardedByS3Key");
}

TEST(RequestBuilderTest, SaysWhichOptionIsWrong) {
  const auto message = [](const auto& change) {
    SubmitOptions options;
    options.image = "athanor/llm";
    change(options);
    try {
      build(options);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(message([](SubmitOptions& o) { o.inputs = {"corpus"}; }).find("--input 'corpus'"), std::string::npos);
  EXPECT_NE(message([](SubmitOptions& o) { o.hyperparameters = {"=1"}; }).find("--hyperparameter"), std::string::npos);
  EXPECT_NE(message([](SubmitOptions& o) { o.environment = {"A"}; }).find("--env"), std::string::npos);
  EXPECT_NE(message([](SubmitOptions& o) { o.max_runtime = "soon"; }).find("soon"), std::string::npos);
  EXPECT_NE(message([](SubmitOptions& o) { o.image = ""; }).find("--image"), std::string::npos);
}

}  // namespace
}  // namespace athanor::cli
