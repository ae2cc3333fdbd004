// The reading of GGUF files byte by byte; tests/engine compares numbers and models with the gguf package's.
#include "engine/model/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "common/error.h"
#include "common/files.h"
#include "common/temporary_folder.h"
#include "engine/model/gguf_model.h"

namespace athanor::model {
namespace {

using testing::HasSubstr;

// Puts a file together.
struct Writer {
  std::string bytes;
  template <typename T>
  Writer& number(T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Writer& text(const std::string& text) {
    number<std::uint64_t>(text.size());
    bytes += text;
    return *this;
  }
  Writer& field(const std::string& key, std::uint32_t type) { return text(key).number(type); }
  Writer& tensor(const std::string& name, const std::vector<std::uint64_t>& dimensions, GgufType type,
                 std::uint64_t offset) {
    text(name).number<std::uint32_t>(static_cast<std::uint32_t>(dimensions.size()));
    for (const std::uint64_t dimension : dimensions) number(dimension);
    return number(static_cast<std::uint32_t>(type)).number(offset);
  }
  Writer& align(std::size_t to) {
    bytes.resize((bytes.size() + to - 1) / to * to);
    return *this;
  }
};

Writer start(std::uint64_t tensors, std::uint64_t fields, std::uint32_t version = 3) {
  Writer writer;
  writer.bytes = "GGUF";
  return writer.number(version).number(tensors).number(fields);
}

std::string good() {
  Writer w = start(2, 7);
  w.field("a.byte", 0).number<std::uint8_t>(200);
  w.field("a.float", 6).number(1.5F);
  w.field("a.flag", 7).number<std::uint8_t>(1);
  w.field("a.text", 8).text("words");
  w.field("a.texts", 9).number<std::uint32_t>(8).number<std::uint64_t>(2).text("x").text("");
  w.field("a.numbers", 9)
      .number<std::uint32_t>(5)
      .number<std::uint64_t>(2)
      .number<std::int32_t>(-1)
      .number<std::int32_t>(7);
  w.field("general.alignment", 4).number<std::uint32_t>(64);
  w.tensor("one", {3, 2}, GgufType::kF32, 0).tensor("two", {32}, GgufType::kQ8_0, 64).align(64);
  for (int i = 0; i < 6; ++i) w.number(static_cast<float>(i));
  w.align(64).number<std::uint16_t>(0x3800);  // d = 0.5
  for (int i = 0; i < 32; ++i) w.number(static_cast<signed char>(i - 16));
  return w.bytes;
}

TEST(Gguf, ReadsFieldsAndTensors) {
  SystemFiles files;
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/model.gguf";
  files.replace(path, good());
  const GgufFile file(path);
  EXPECT_EQ(file.get<std::int64_t>("a.byte"), 200);
  EXPECT_EQ(file.get<double>("a.float"), 1.5);
  EXPECT_EQ(file.get<double>("a.byte"), 200.0) << "whole numbers serve as numbers";
  EXPECT_EQ(file.get<std::int64_t>("a.flag"), 1);
  EXPECT_EQ(file.get<std::string>("a.text"), "words");
  EXPECT_EQ(file.get<std::vector<std::string>>("a.texts"), (std::vector<std::string>{"x", ""}));
  EXPECT_EQ(file.get<std::vector<std::int64_t>>("a.numbers"), (std::vector<std::int64_t>{-1, 7}));
  EXPECT_EQ(file.get<std::int64_t>("a.text"), std::nullopt);
  EXPECT_EQ(file.get<std::int64_t>("none"), std::nullopt);
  EXPECT_EQ(file.find("none"), nullptr);

  std::vector<float> one(6), two(32);
  EXPECT_EQ(file.find("one")->shape, (std::vector<std::int64_t>{2, 3}));
  file.read_floats(*file.find("one"), one);
  EXPECT_EQ(one, (std::vector<float>{0, 1, 2, 3, 4, 5}));
  file.read_floats(*file.find("two"), two);
  for (int i = 0; i < 32; ++i) EXPECT_EQ(two[static_cast<std::size_t>(i)], 0.5F * static_cast<float>(i - 16));
}

TEST(Gguf, IsRefusedWhereverItIsCutOff) {
  const std::string whole = good();
  EXPECT_NO_THROW(parse_gguf(whole, "file"));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_THROW(parse_gguf(std::string_view(whole).substr(0, length), "file"), Error) << length;
  }
}

TEST(Gguf, SaysWhatIsWrong) {
  const auto one_tensor = [](const std::vector<std::uint64_t>& dimensions, std::uint32_t type, std::uint64_t offset) {
    Writer w = start(1, 0);
    w.tensor("weight", dimensions, static_cast<GgufType>(type), offset).align(32);
    w.bytes.resize(w.bytes.size() + 256);
    return w.bytes;
  };
  Writer overlapping = start(2, 0);
  overlapping.tensor("a", {16}, GgufType::kF32, 0).tensor("b", {16}, GgufType::kF32, 32).align(32).bytes.resize(512);
  Writer twice = start(2, 0);
  twice.tensor("a", {8}, GgufType::kF32, 0).tensor("a", {8}, GgufType::kF32, 32).align(32).bytes.resize(512);
  Writer huge = start(0, 1);
  huge.field("a", 9).number<std::uint32_t>(0).number<std::uint64_t>(1ULL << 62).bytes.resize(200);
  Writer nested = start(0, 1);
  nested.field("a", 9).number<std::uint32_t>(9).number<std::uint64_t>(1).bytes.resize(200);
  Writer unknown = start(0, 1);
  unknown.field("a", 77).bytes.resize(200);
  Writer fields = start(0, 2);
  fields.field("a", 0).number<std::uint8_t>(1).field("a", 0).number<std::uint8_t>(1).bytes.resize(200);
  const std::pair<std::string, std::string> cases[] = {
      {"GGML" + good().substr(4), "does not begin"},
      {start(0, 0, 1).bytes + std::string(64, 0), "version 1"},
      {start(0, 0, 0x03000000).bytes + std::string(64, 0), "little-endian"},
      {start(1ULL << 60, 0).bytes + std::string(64, 0), "more than its"},
      {start(0, 1ULL << 60).bytes + std::string(64, 0), "more than its"},
      {one_tensor({64}, 0, 0), ""},
      {one_tensor({64}, 0, 8), "aligned"},
      {one_tensor({64}, 0, 32), "cut off"},
      {one_tensor({1ULL << 40, 1ULL << 40}, 0, 0), "dimension"},
      {one_tensor({1ULL << 62}, 0, 0), "too large"},
      {one_tensor({0}, 0, 0), "dimension"},
      {one_tensor({4, 1, 1, 1, 1}, 0, 0), "5 dimensions"},
      {one_tensor({48}, 2, 0), "blocks of 32"},
      {one_tensor({32}, 6, 0), "type 6"},
      {overlapping.bytes, "overlap"},
      {twice.bytes, "twice"},
      {fields.bytes, "twice"},
      {huge.bytes, "past its end"},
      {nested.bytes, "array of arrays"},
      {unknown.bytes, "unknown type 77"},
  };
  for (const auto& [bytes, expected] : cases) {
    try {
      (void)parse_gguf(bytes, "file");
      EXPECT_EQ(expected, "");
    } catch (const Error& error) {
      EXPECT_NE(expected, "") << error.what();
      EXPECT_THAT(error.what(), HasSubstr(expected));
    }
  }
}

TEST(Gguf, OffersTheTokenizerAsItStands) {
  Writer w = start(0, 6);
  w.field("tokenizer.ggml.model", 8).text("llama");
  w.field("tokenizer.ggml.tokens", 9).number<std::uint32_t>(8).number<std::uint64_t>(2).text("<s>").text("a");
  w.field("tokenizer.ggml.scores", 9).number<std::uint32_t>(6).number<std::uint64_t>(2).number(0.0F).number(-1.5F);
  w.field("tokenizer.ggml.token_type", 9)
      .number<std::uint32_t>(5)
      .number<std::uint64_t>(2)
      .number<std::int32_t>(3)
      .number<std::int32_t>(1);
  w.field("tokenizer.ggml.bos_token_id", 4).number<std::uint32_t>(0);
  w.field("tokenizer.ggml.add_bos_token", 7).number<std::uint8_t>(1).align(32);
  SystemFiles files;
  const TemporaryFolder folder;
  files.replace(folder.path() + "/model.gguf", w.bytes);
  const GgufTokenizer tokenizer = gguf_tokenizer(GgufFile(folder.path() + "/model.gguf"));
  EXPECT_EQ(tokenizer.model, "llama");
  EXPECT_EQ(tokenizer.tokens, (std::vector<std::string>{"<s>", "a"}));
  EXPECT_EQ(tokenizer.scores, (std::vector<float>{0, -1.5}));
  EXPECT_EQ(tokenizer.types, (std::vector<std::int32_t>{3, 1}));
  EXPECT_EQ(tokenizer.bos_token_id, 0);
  EXPECT_EQ(tokenizer.eos_token_id, std::nullopt);
  EXPECT_EQ(tokenizer.add_bos_token, true);
  EXPECT_EQ(tokenizer.add_eos_token, std::nullopt);
  EXPECT_TRUE(tokenizer.merges.empty());
}

}  // namespace
}  // namespace athanor::model
