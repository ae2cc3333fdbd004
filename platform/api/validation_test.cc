#include "platform/api/validation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"

namespace athanor::api {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const Shapes& shapes() {
  static const Shapes kShapes(sagemaker_shapes());
  return kShapes;
}

// A request that the service takes; each row of the table below changes one member.
json::object good_request() {
  return json::parse(R"({
    "TrainingJobName": "job", "RoleArn": "arn:aws:iam::000000000000:role/athanor",
    "AlgorithmSpecification": {"TrainingImage": "athanor/script", "TrainingInputMode": "File"},
    "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": {
        "S3DataType": "S3Prefix", "S3Uri": "s3://bucket/prefix"}}}],
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    "HyperParameters": {"steps": "10"}, "Environment": {"A": "b"}})",
                     "the test")
      .as_object();
}

TEST(Validation, TakesAGoodRequest) {
  EXPECT_THAT(shapes().violations("CreateTrainingJob", good_request()), IsEmpty());
}

struct Row {
  const char* member;    // of the request
  std::string value;     // JSON put there; "" removes it
  const char* expected;  // the one violation
};

TEST(Validation, SaysWhatIsWrongInTheServicesWords) {
  const std::string long_name(64, 'a');
  const std::string name_too_long = "Value '" + long_name +
                                    "' at 'trainingJobName' failed to satisfy constraint: Member must have length less "
                                    "than or equal to 63";
  const std::vector<Row> rows = {
      {"TrainingJobName", R"("a b")",
       "Value 'a b' at 'trainingJobName' failed to satisfy constraint: Member must satisfy regular expression pattern: "
       "^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"},
      {"TrainingJobName", "", "Value null at 'trainingJobName' failed to satisfy constraint: Member must not be null"},
      {"TrainingJobName", "null",
       "Value null at 'trainingJobName' failed to satisfy constraint: Member must not be null"},
      {"StoppingCondition", R"({"MaxRuntimeInSeconds": 0})",
       "Value '0' at 'stoppingCondition.maxRuntimeInSeconds' failed to satisfy constraint: Member must have value "
       "greater than or equal to 1"},
      {"AlgorithmSpecification", R"({"TrainingInputMode": "Tape"})",
       "Value 'Tape' at 'algorithmSpecification.trainingInputMode' failed to satisfy constraint: Member must satisfy "
       "enum value set: [Pipe, File, FastFile]"},
      {"InputDataConfig", R"([{"ChannelName": "a/b", "DataSource": {}}])",
       "Value 'a/b' at 'inputDataConfig.1.member.channelName' failed to satisfy constraint: Member must satisfy "
       "regular "
       "expression pattern: ^[A-Za-z0-9\\.\\-_]+"},
      {"Environment", R"({"1": "x"})",
       "Value '{1=x}' at 'environment' failed to satisfy constraint: Map keys must satisfy constraint: [Member must "
       "have length less than or equal to 512, Member must have length greater than or equal to 0, Member must satisfy "
       "regular expression pattern: ^[a-zA-Z_][a-zA-Z0-9_]*]"},
      {"HyperParameters", R"({"a": "x\ny", "b": "x\ny"})",
       "Value '{a=x\ny, b=x\ny}' at 'hyperParameters' failed to satisfy constraint: Map value must satisfy constraint: "
       "[Member must have length less than or equal to 2500, Member must have length greater than or equal to 0, "
       "Member "
       "must satisfy regular expression pattern: .*]"},
      {"HyperParameters", R"({"a": null})",
       "Value null at 'hyperParameters.a.member' failed to satisfy constraint: Member must not be null"},
      {"VpcConfig", R"({"SecurityGroupIds": ["a b", "c d"], "Subnets": ["s"]})",
       "Value '[a b, c d]' at 'vpcConfig.securityGroupIds' failed to satisfy constraint: Member must satisfy "
       "constraint: "
       "[Member must have length less than or equal to 32, Member must have length greater than or equal to 0, Member "
       "must satisfy regular expression pattern: ^[-0-9a-zA-Z]+]"},
  };
  for (const auto& row : rows) {
    auto request = good_request();
    if (row.value.empty()) {
      request.erase(row.member);
    } else {
      request[row.member] = json::parse(row.value, "the row");
    }
    EXPECT_THAT(shapes().violations("CreateTrainingJob", request), ElementsAre(row.expected));
  }
  auto request = good_request();
  request["TrainingJobName"] = long_name;
  const auto found = shapes().violations("CreateTrainingJob", request);
  ASSERT_EQ(found.size(), 2u);  // the length, and the pattern that bounds it too
  EXPECT_EQ(found[0], name_too_long);
}

TEST(Validation, CountsAllErrorsInOneText) {
  EXPECT_EQ(violations_text({"A"}), "1 validation error detected: A");
  EXPECT_EQ(violations_text({"A", "B"}), "2 validation errors detected: A; B");
}

TEST(Validation, RefusesValuesOfAnotherType) {
  const std::vector<std::pair<const char*, const char*>> rows = {
      {"TrainingJobName", "5"},
      {"TrainingJobName", "[]"},
      {"HyperParameters", R"({"steps": 10})"},
      {"InputDataConfig", "{}"},
      {"InputDataConfig", R"("x")"},
      {"ResourceConfig", R"({"InstanceCount": "1"})"},
      {"ResourceConfig", R"({"InstanceCount": 1.5})"},
      {"ResourceConfig", R"({"InstanceCount": 99999999999})"},
      {"EnableNetworkIsolation", R"("true")"},
  };
  for (const auto& [member, value] : rows) {
    auto request = good_request();
    request[member] = json::parse(value, "the row");
    EXPECT_THROW(shapes().violations("CreateTrainingJob", request), SerializationError) << member << value;
  }
  EXPECT_THROW(shapes().violations("CreateTrainingJob", json::array{}), SerializationError);
  EXPECT_THROW(shapes().violations("CreateTrainingJob", nullptr), SerializationError);
}

TEST(Validation, PatternsBeyondRe2KeepTheirMeaning) {
  auto request = good_request();
  const auto algorithm = [&](const std::string& name) {
    request["AlgorithmSpecification"] = {{"AlgorithmName", name}, {"TrainingInputMode", "File"}};
    return shapes().violations("CreateTrainingJob", request).size();
  };
  EXPECT_EQ(algorithm("name"), 0u);
  EXPECT_EQ(algorithm("name-"), 1u);  // (?<!-)
  const auto group = [&](std::size_t length) {
    request = good_request();
    request["ModelPackageConfig"] = {
        {"ModelPackageGroupArn",
         "arn:aws:sagemaker:us-east-1:000000000000:model-package-group/" + std::string(length, 'g')}};
    return shapes().violations("CreateTrainingJob", request).size();
  };
  EXPECT_EQ(group(1500), 0u);  // {1,2048}: past RE2's limit of 1000
  EXPECT_EQ(group(0), 1u);
}

TEST(Validation, CountsLengthInUtf16Units) {
  auto request = good_request();
  const auto with_characters = [&](const char* character, int count) {
    std::string value;
    for (int i = 0; i < count; ++i) value += character;
    request["HyperParameters"] = {{"a", value}};
    return shapes().violations("CreateTrainingJob", request).size();
  };
  EXPECT_EQ(with_characters("\u00e9", 2500), 0u);
  EXPECT_EQ(with_characters("\u00e9", 2501), 1u);
  EXPECT_EQ(with_characters("\U0001F600", 1250), 0u);
  EXPECT_EQ(with_characters("\U0001F600", 1251), 1u);
}

TEST(Shapes, RefusesABrokenTable) {
  for (const char* table : {"{}", "[", R"({"operations": {"A": "B"}, "shapes": {}})",
                            R"({"operations": {}, "shapes": {"A": {"type": "tape"}}})",
                            R"({"operations": {}, "shapes": {"A": {"type": "string", "pattern": "("}}})"}) {
    EXPECT_THROW(Shapes{table}, Error) << table;
  }
}

}  // namespace
}  // namespace athanor::api
