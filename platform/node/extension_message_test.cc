#include "platform/node/extension_message.h"

#include <gtest/gtest.h>

#include "common/error.h"

namespace athanor::node {
namespace {

TEST(ExtensionMessage, BeatsAreNamesAndNumbers) {
  const auto message = parse_extension_message(R"({"beat": {"step": 12, "loss": 3.5, "seconds_left": -0.0}})");
  const auto& values = std::get<Beat>(message).values;
  EXPECT_EQ(values.at("step"), 12);
  EXPECT_EQ(values.at("loss"), 3.5);
}

TEST(ExtensionMessage, CheckpointsAreFoldersBelowOurs) {
  EXPECT_EQ(std::get<CheckpointComplete>(parse_extension_message(R"({"checkpoint":{"path":"a/step-1","step":1}})"))
                .path,
            "a/step-1");
}

TEST(ExtensionMessage, NewerProgramsMaySayMore) {
  EXPECT_TRUE(std::holds_alternative<Unknown>(parse_extension_message(R"({"profile":{"on":true}})")));
}

TEST(ExtensionMessage, TheRestIsRefused) {
  std::string many = R"({"beat":{)";
  for (std::size_t i = 0; i <= kBeatValuesMax; ++i) many += (i ? ",\"" : "\"") + std::to_string(i) + "\":1";
  for (const std::string& bad :
       {std::string("not json"), std::string("[1]"), std::string("12"), std::string(R"({"beat":3})"),
        std::string(R"({"beat":{"x":"1"}})"), std::string(R"({"beat":{"x":1e999}})"), std::string(R"({"beat":{"":1}})"),
        std::string(R"({"checkpoint":{}})"), std::string(R"({"checkpoint":{"path":""}})"),
        std::string(R"({"checkpoint":{"path":"/etc"}})"), std::string(R"({"checkpoint":{"path":"a/../../b"}})"),
        std::string(R"({"checkpoint":{"path":"a/"}})"), std::string(R"({"checkpoint":{"path":"a\u0000b"}})"),
        many + "}}", std::string(kExtensionLineBytesMax + 1, ' ')}) {
    EXPECT_THROW(parse_extension_message(bad), Error) << bad.substr(0, 60);
  }
}

}  // namespace
}  // namespace athanor::node
