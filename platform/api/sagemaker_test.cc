#include "platform/api/sagemaker.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <map>
#include <thread>

#include "common/error.h"
#include "platform/api/service_error.h"

namespace athanor::api {
namespace {

using JobPointer = std::shared_ptr<const control::Job>;

// The control plane's interface over a list: these tests are of requests and replies, not of jobs.
class ListedJobs final : public TrainingJobs {
 public:
  wire::Awaitable<std::string> create(std::string name, json::object request) override {
    auto job = std::make_shared<control::Job>();
    job->name = name;
    job->arn = "arn:" + name;
    job->request = json::serialize(request);
    job->sequence = static_cast<std::int64_t>(jobs_.size());
    job->created_ms = job->modified_ms = 1'700'000'000'000 + 1000 * job->sequence;
    jobs_.push_back(job);
    co_return job->arn;
  }
  JobPointer find(std::string_view name) const override {
    for (const auto& job : jobs_) {
      if (job->name == name) return job;
    }
    return nullptr;
  }
  std::vector<JobPointer> list() const override { return {jobs_.begin(), jobs_.end()}; }
  wire::Awaitable<void> stop(std::string name) override {
    if (find(name) == nullptr) throw Error(ErrorKind::kNotFound, "no job {}", name);
    throw Error(ErrorKind::kConflict, "The request was rejected because the training job is in status Stopped.");
    co_return;
  }
  wire::Awaitable<void> remove(std::string name) override {
    std::erase_if(jobs_, [&](const auto& job) { return job->name == name; });
    co_return;
  }
  control::Progress progress(std::string_view) const override { return {{"step", 3}}; }
  void set_arn(std::string_view name, std::string arn) {
    for (auto& job : jobs_) {
      if (job->name == name) job->arn = arn;
    }
  }

 private:
  std::vector<std::shared_ptr<control::Job>> jobs_;
};

constexpr const char* kRequest = R"({
  "TrainingJobName": "NAME", "RoleArn": "arn:aws:iam::000000000000:role/athanor",
  "AlgorithmSpecification": {"TrainingImage": "athanor/script", "TrainingInputMode": "File", "ContainerEntrypoint": ["true"]},
  "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
  "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
  "StoppingCondition": {"MaxRuntimeInSeconds": 60}})";

class SageMakerTest : public testing::Test {
 protected:
  json::value call(const std::string& target, const std::string& body, SageMakerApi* api = nullptr) {
    std::shared_ptr<const std::string> reply;
    std::exception_ptr failure;
    boost::asio::co_spawn(context_, (api == nullptr ? api_ : *api).call(target, body),
                          [&](std::exception_ptr error, std::shared_ptr<const std::string> text) {
                            failure = error;
                            reply = std::move(text);
                          });
    context_.restart();
    context_.run();
    if (failure) std::rethrow_exception(failure);
    return reply->empty() ? json::value() : json::parse(*reply, "the reply");
  }
  // "Code: message" of the error, or "".
  std::string error(const std::string& target, const std::string& body, SageMakerApi* api = nullptr) {
    try {
      call(target, body, api);
      return "";
    } catch (const ServiceError& failure) {
      return failure.code() + ": " + failure.what();
    }
  }
  static json::object request(const std::string& name = "job") {
    auto value = json::parse(kRequest, "the test").as_object();
    value["TrainingJobName"] = name;
    return value;
  }
  json::value create(const json::object& body) { return call("SageMaker.CreateTrainingJob", json::serialize(body)); }

  ListedJobs jobs_;
  boost::asio::io_context context_;  // outlives the workers, which may still be waking it when a call is over
  boost::asio::thread_pool workers_{1};
  SageMakerApi api_{jobs_, workers_};
};

TEST_F(SageMakerTest, CreatesAndDescribesWithTheServicesDefaults) {
  EXPECT_EQ(create(request()).at("TrainingJobArn"), "arn:job");
  const auto reply = call("SageMaker.DescribeTrainingJob", R"({"TrainingJobName":"job"})");
  EXPECT_EQ(reply.at("TrainingJobStatus"), "InProgress");
  EXPECT_EQ(reply.at("OutputDataConfig").at("CompressionType"), "GZIP");
  EXPECT_EQ(reply.at("EnableNetworkIsolation"), false);
  EXPECT_DOUBLE_EQ(reply.at("CreationTime").as_double(), 1.7e9);
  EXPECT_TRUE(error("SageMaker.CreateTrainingJob", json::serialize(request()))
                  .starts_with("ResourceInUse: Training job names must"));
}

TEST_F(SageMakerTest, RefusesByNameWhatItWouldIgnore) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"VpcConfig", R"({"SecurityGroupIds":["sg-1"],"Subnets":["subnet-1"]})"},
      {"EnableManagedSpotTraining", "true"},
      {"RetryStrategy", R"({"MaximumRetryAttempts":1})"},
      {"StoppingCondition", R"({"MaxRuntimeInSeconds":60,"MaxWaitTimeInSeconds":70})"},
      {"NoSuchMember", R"("x")"},
      {"InputDataConfig",
       R"([{"ChannelName":"a","InputMode":"Pipe","DataSource":{"S3DataSource":{"S3DataType":"S3Prefix","S3Uri":"s3://bucket/"}}}])"},
  };
  for (const auto& [member, value] : rows) {
    auto body = request();
    body[member] = json::parse(value, "the row");
    const auto text = error("SageMaker.CreateTrainingJob", json::serialize(body));
    EXPECT_TRUE(text.starts_with("ValidationException: " + member) &&
                text.find("is not supported") != std::string::npos)
        << text;
  }
  auto harmless = request();
  harmless["EnableManagedSpotTraining"] = false;
  harmless["ProfilerConfig"] = {{"DisableProfiler", true}};
  harmless["VpcConfig"] = nullptr;
  EXPECT_NO_THROW(create(harmless));
}

TEST_F(SageMakerTest, ChecksWhatShapesCannotSay) {
  const auto with = [&](const char* member, const std::string& value) {
    auto body = request();
    body[member] = json::parse(value, "the row");
    return error("SageMaker.CreateTrainingJob", json::serialize(body));
  };
  EXPECT_NE(with("AlgorithmSpecification", R"({"TrainingImage":"nobody/nothing","TrainingInputMode":"File"})")
                .find("Cannot find"),
            std::string::npos);
  EXPECT_NE(with("AlgorithmSpecification", R"({"TrainingImage":"athanor/script","TrainingInputMode":"File"})")
                .find("ContainerEntrypoint"),
            std::string::npos);
  EXPECT_NE(
      with(
          "AlgorithmSpecification",
          R"({"TrainingImage":"athanor/llm","TrainingInputMode":"File","MetricDefinitions":[{"Name":"a","Regex":"("}]})")
          .find("Invalid regex"),
      std::string::npos);
  for (const char* tag : {":v99", ":", ":latest:latest", "@sha256:0"}) {
    EXPECT_NE(with("AlgorithmSpecification",
                   R"({"TrainingImage":"athanor/llm)" + std::string(tag) + R"(","TrainingInputMode":"File"})")
                  .find("Cannot find"),
              std::string::npos)
        << tag;
  }
  EXPECT_NE(with("OutputDataConfig", R"({"S3OutputPath":"https://bucket/x"})").find("Invalid S3 URI"),
            std::string::npos);
  EXPECT_NE(with("CheckpointConfig", R"({"S3Uri":"s3://bucket/c","LocalPath":"/etc"})").find("LocalPath"),
            std::string::npos);
  EXPECT_EQ(with("StoppingCondition", R"({"MaxRuntimeInSeconds":2419201})"),
            "ValidationException: 1 validation error detected: Value '2419201' at "
            "'stoppingCondition.maxRuntimeInSeconds' failed to "
            "satisfy constraint: Member must have value less than or equal to 2419200");
  EXPECT_EQ(with("StoppingCondition", R"({"MaxRuntimeInSeconds":2419200})"), "");
  const std::string channel =
      R"({"ChannelName":"a","DataSource":{"S3DataSource":{"S3DataType":"S3Prefix","S3Uri":"s3://bucket/"}}})";
  EXPECT_NE(with("InputDataConfig", "[" + channel + "," + channel + "]").find("unique"), std::string::npos);
}

TEST_F(SageMakerTest, RefusesAChannelWithoutObjects) {
  const auto has_objects = [here = std::this_thread::get_id()](const storage::S3Uri& prefix) {
    EXPECT_NE(std::this_thread::get_id(), here) << "whoever serves connections does not wait for a disk";
    return prefix.bucket == "bucket" && prefix.key != "none/";
  };
  SageMakerApi asks(jobs_, workers_, {"eu-west-1", has_objects});
  const auto said = [&](const std::string& uri) {
    auto body = request();
    body["InputDataConfig"] =
        json::parse(R"([{"ChannelName":"a","DataSource":{"S3DataSource":{"S3DataType":"S3Prefix","S3Uri":")" + uri +
                        R"("}}}])",
                    "the row");
    return error("SageMaker.CreateTrainingJob", json::serialize(body), &asks);
  };
  for (const std::string uri : {"s3://bucket/none/", "s3://absent", "s3://absent/some/"}) {
    EXPECT_EQ(said(uri).find("ValidationException: No S3 objects found under S3 URL \"" + uri +
                             "\" given in input data source. Please ensure"),
              0u)
        << said(uri);
    EXPECT_NE(said(uri).find("(eu-west-1)"), std::string::npos);
  }
  EXPECT_EQ(said("s3://bucket/some/"), "");
}

TEST_F(SageMakerTest, ListsInPagesAndFiltersAfterTheCut) {
  for (int i = 0; i < 25; ++i) create(request("job-" + std::to_string(i)));
  std::vector<std::string> names;
  std::string token;
  do {
    auto body = json::object{{"MaxResults", 10}, {"SortOrder", "Descending"}};
    if (!token.empty()) body["NextToken"] = token;
    const auto reply = call("SageMaker.ListTrainingJobs", json::serialize(body));
    for (const auto& row : reply.at("TrainingJobSummaries").as_array()) {
      names.emplace_back(row.at("TrainingJobName").as_string());
    }
    token = json::find_string(reply.as_object(), "NextToken").value_or("");
  } while (!token.empty());
  ASSERT_EQ(names.size(), 25u);
  EXPECT_EQ(names.front(), "job-24");
  EXPECT_EQ(names.back(), "job-0");
  const auto failed = call("SageMaker.ListTrainingJobs", R"({"StatusEquals":"Failed"})");
  EXPECT_TRUE(failed.at("TrainingJobSummaries").as_array().empty());
  EXPECT_TRUE(failed.as_object().contains("NextToken"));
  EXPECT_EQ(
      call("SageMaker.ListTrainingJobs", R"({"NameContains":"-24"})").at("TrainingJobSummaries").as_array().size(), 1u);
  EXPECT_TRUE(error("SageMaker.ListTrainingJobs", R"({"NextToken":"zzz"})")
                  .starts_with("ValidationException: Invalid NextToken"));
}

TEST_F(SageMakerTest, ListsTheTagsOfAJob) {
  auto tagged = request();
  tagged["Tags"] = json::parse(R"([{"Key":"team","Value":"llm"},{"Key":"a","Value":""}])", "the test");
  create(tagged);
  create(request("plain"));
  jobs_.set_arn("job", "arn:aws:sagemaker:us-east-1:000000000000:training-job/job");
  jobs_.set_arn("plain", "arn:aws:sagemaker:us-east-1:000000000000:training-job/plain");
  const auto tags = [&](const std::string& name) {
    return call("SageMaker.ListTags",
                R"({"ResourceArn":"arn:aws:sagemaker:us-east-1:000000000000:training-job/)" + name + R"("})")
        .at("Tags");
  };
  EXPECT_EQ(tags("job"), tagged["Tags"]);
  EXPECT_EQ(tags("plain"), json::array());
  for (const std::string arn :
       {"us-east-1:000000000000:training-job/none", "eu-west-1:000000000000:training-job/job"}) {
    EXPECT_EQ(error("SageMaker.ListTags", R"({"ResourceArn":"arn:aws:sagemaker:)" + arn + R"("})"),
              "ValidationException: Requested resource not found.");
  }
  tagged["TrainingJobName"] = "twice";
  tagged["Tags"].as_array().push_back(tagged["Tags"].at(0));
  EXPECT_NE(error("SageMaker.CreateTrainingJob", json::serialize(tagged)).find("Tag keys must be unique: 'team'"),
            std::string::npos);
}

TEST_F(SageMakerTest, ErrorsAreTheServices) {
  create(request());
  EXPECT_EQ(error("SageMaker.DescribeTrainingJob", R"({"TrainingJobName":"none"})"),
            "ValidationException: Requested resource not found.");
  EXPECT_EQ(error("SageMaker.StopTrainingJob", R"({"TrainingJobName":"none"})"),
            "ValidationException: Requested resource not found.");
  EXPECT_EQ(error("SageMaker.StopTrainingJob", R"({"TrainingJobName":"job"})"),
            "ValidationException: The request was rejected because the training job is in status Stopped.");
  EXPECT_TRUE(error("SageMaker.CreateTrainingJob", "{").starts_with("SerializationException"));
  EXPECT_TRUE(error("SageMaker.CreateTrainingJob", "[]").starts_with("SerializationException"));
  EXPECT_TRUE(
      error("SageMaker.CreateTrainingJob", "").starts_with("ValidationException: 3 validation errors detected"));
  EXPECT_TRUE(error("SageMaker.CreateEndpoint", "{}").starts_with("UnknownOperationException"));
  EXPECT_EQ(call("Athanor.GetProgress", R"({"TrainingJobName":"job"})").at("Progress").at("step"), 3.0);
}

}  // namespace
}  // namespace athanor::api
