#include "engine/model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>

#include "common/error.h"
#include "common/temporary_folder.h"

namespace athanor::model {
namespace {

using testing::HasSubstr;

class SafetensorsTest : public testing::Test {
 protected:
  std::string path() const { return folder_ + "/model.safetensors"; }

  SystemFiles files_;
  const TemporaryFolder temporary_;
  const std::string folder_ = temporary_.path();
};

std::string file_of(std::string header, std::string_view data) {
  const std::uint64_t size = header.size();
  std::string file(reinterpret_cast<const char*>(&size), sizeof size);
  return file + header + std::string(data);
}

TEST_F(SafetensorsTest, ReadsWhatItWrote) {
  const std::vector<float> a{1, 2, 3, 4, 5, 6};
  SafetensorsWriter writer(files_, path(), {{"a", "F32", {2, 3}}, {"empty", "F32", {0, 7}}, {"b", "I8", {3}}},
                           {{"format", "pt"}, {"note", "\"quoted\""}});
  writer.append(a);
  writer.append("xyz");
  EXPECT_FALSE(files_.stat(path())) << "not there before it is whole";
  writer.finish();

  const SafetensorsFile file(path());
  ASSERT_EQ(file.entries().size(), 3u);
  EXPECT_EQ(file.metadata().at("note"), "\"quoted\"");
  std::vector<float> back(6);
  file.read_floats(*file.find("a"), back);
  EXPECT_EQ(back, a);
  EXPECT_EQ(file.bytes(*file.find("b")), "xyz");
  EXPECT_EQ(file.find("c"), nullptr);
  EXPECT_FALSE(files_.stat(path() + ".tmp"));
}

TEST_F(SafetensorsTest, LeavesNothingWhenUnfinished) {
  { const SafetensorsWriter writer(files_, path(), {{"a", "F32", {2}}}); }
  EXPECT_TRUE(files_.list(folder_).empty());
}

TEST_F(SafetensorsTest, ReadsHalfAndBrainFloats) {
  const std::uint16_t halves[] = {0x3c00, 0xc000, 0x0001, 0x7c00, 0x8000, 0x7bff};  // 1, -2, 2^-24, inf, -0, 65504
  const std::uint16_t brains[] = {0x3f80, 0xc000, 0x7f80};                          // 1, -2, inf
  SafetensorsWriter writer(files_, path(), {{"h", "F16", {6}}, {"b", "BF16", {3}}});
  writer.append({reinterpret_cast<const char*>(halves), sizeof halves});
  writer.append({reinterpret_cast<const char*>(brains), sizeof brains});
  writer.finish();
  const SafetensorsFile file(path());
  std::vector<float> h(6), b(3);
  file.read_floats(*file.find("h"), h);
  file.read_floats(*file.find("b"), b);
  EXPECT_THAT(h, testing::ElementsAre(1.0F, -2.0F, 0x1p-24F, INFINITY, -0.0F, 65504.0F));
  EXPECT_THAT(b, testing::ElementsAre(1.0F, -2.0F, INFINITY));
}

TEST(SafetensorsHeader, RefusesWhatTheFormatDoesNotAllow) {
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_EQ(parse_safetensors_header(file_of(good, "12345678"), good.size() + 16, "x").entries.size(), 1u);
  struct Case {
    std::string file;
    std::string expected;
  };
  const std::vector<Case> cases{
      {"", "ends before its header"},
      {"1234567", "ends before its header"},
      {std::string(8, '\xff'), "header would have"},
      {file_of(good, "").substr(0, 30), "ends inside its header"},
      {file_of("[]", ""), "no JSON object"},
      {file_of("{", ""), "not JSON"},
      {file_of(good, "1234567"), "cut off"},
      {file_of(good, "123456789"), "cut off or has grown"},
      {file_of(R"({"a":5})", ""), "no object"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2]}})", ""), "lacks its shape"},
      {file_of(R"({"a":{"dtype":4,"shape":[2],"data_offsets":[0,8]}})", "12345678"), "dtype"},
      {file_of(R"({"a":{"dtype":"Q4","shape":[2],"data_offsets":[0,8]}})", "12345678"), "unknown type \"Q4\""},
      {file_of(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", "12345678"), "take 12"},
      {file_of(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", "12345678"), "no whole numbers"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}})", "12345678"), "no whole numbers"},
      {file_of(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", ""), "too large"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", "12345678"), "bytes 8 to 0"},
      {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", "12345678"), "where 0 was expected"},
      {file_of(
           R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
           "1234"),
       "where 4 was expected"},
      {file_of(R"({"__metadata__":{"k":1}})", ""), "metadata"},
      {file_of(R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})", "1"), "9 dimensions"},
  };
  for (const Case& one : cases) {
    try {
      (void)parse_safetensors_header(one.file, one.file.size(), "model.safetensors");
      ADD_FAILURE() << "accepted: " << one.expected;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
      EXPECT_THAT(error.what(), HasSubstr(one.expected));
      EXPECT_THAT(error.what(), HasSubstr("model.safetensors"));
    }
  }
}

TEST_F(SafetensorsTest, SaysWhatIsWrongWithAFile) {
  EXPECT_THROW(SafetensorsFile("/nonexistent"), Error);
  EXPECT_THROW(SafetensorsFile{folder_}, Error);
  files_.replace(path(), "");
  EXPECT_THROW(SafetensorsFile{path()}, Error);
}

}  // namespace
}  // namespace athanor::model
