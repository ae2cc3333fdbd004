#include "engine/data/token_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <numeric>

#include "common/error.h"
#include "common/temporary_folder.h"

namespace athanor::data {
namespace {

using testing::HasSubstr;

class TokenFileTest : public testing::Test {
 protected:
  std::string write(std::int64_t vocabulary, const std::vector<std::int32_t>& ids, std::string_view digest = {}) {
    const std::string path = folder_ + "/text.tokens";
    TokenFileWriter writer(files_, path, vocabulary, digest);
    writer.append(ids);
    writer.finish();
    return path;
  }

  const TemporaryFolder temporary_;
  const std::string folder_ = temporary_.path();
  SystemFiles files_;
};

TEST_F(TokenFileTest, GivesBackWhatWasWrittenInBothWidths) {
  for (const std::int64_t vocabulary : {300, 1 << 16, (1 << 16) + 1, 1 << 20}) {
    std::vector<std::int32_t> ids(700'000);  // more than the writer's buffer
    for (std::size_t i = 0; i < ids.size(); ++i) {
      ids[i] = static_cast<std::int32_t>(i * 7919 % static_cast<std::size_t>(vocabulary));
    }
    const TokenFile file(write(vocabulary, ids, std::string(32, 'd')));
    EXPECT_EQ(file.header().id_bytes, vocabulary <= 1 << 16 ? 2U : 4U);
    EXPECT_EQ(file.header().vocabulary, vocabulary);
    EXPECT_EQ(file.header().tokenizer_sha256, std::string(32, 'd'));
    ASSERT_EQ(file.count(), static_cast<std::int64_t>(ids.size()));
    std::vector<std::int32_t> all(ids.size());
    file.read(0, all);
    EXPECT_EQ(all, ids);
    std::vector<std::int32_t> some(3);
    file.read(699'997, some);
    EXPECT_EQ(some, std::vector<std::int32_t>(ids.end() - 3, ids.end()));
  }
}

TEST_F(TokenFileTest, AnEmptyTextIsATokenFileToo) { EXPECT_EQ(TokenFile(write(10, {})).count(), 0); }

TEST_F(TokenFileTest, AFingerprintTellsTextsApart) {
  std::vector<std::int32_t> ids(100'000, 7);
  const std::string first = TokenFile(write(10, ids)).fingerprint();
  EXPECT_EQ(TokenFile(write(10, ids, std::string(32, 'd'))).fingerprint(), first);
  EXPECT_EQ(first.size(), 64U);
  for (const std::size_t changed : {std::size_t{0}, std::size_t{50'000}, ids.size() - 1}) {
    std::vector<std::int32_t> other = ids;
    other[changed] = 8;
    EXPECT_NE(TokenFile(write(10, other)).fingerprint(), first) << changed;
  }
  EXPECT_FALSE(TokenFile(write(10, {})).fingerprint().empty());
}

TEST_F(TokenFileTest, AppearsWholeOrNotAtAll) {
  {
    TokenFileWriter writer(files_, folder_ + "/unfinished", 10, {});
    writer.append(std::vector<std::int32_t>{1, 2, 3});
    EXPECT_FALSE(files_.stat(folder_ + "/unfinished"));
  }
  EXPECT_TRUE(files_.list(folder_).empty());
}

TEST_F(TokenFileTest, RefusesIdsBeyondTheVocabulary) {
  TokenFileWriter writer(files_, folder_ + "/bad", 10, {});
  EXPECT_THROW(writer.append(std::vector<std::int32_t>{10}), Error);
  EXPECT_THROW(writer.append(std::vector<std::int32_t>{-1}), Error);
}

TEST_F(TokenFileTest, RefusesDamageWithWhatWasFound) {
  const std::string good = files_.read_all(write(300, {1, 2, 3, 4}));
  const auto put = [](std::size_t at, std::uint8_t byte) {
    return [=](std::string bytes) { return bytes[at] = static_cast<char>(byte), bytes; };
  };
  const std::vector<std::pair<std::function<std::string(std::string)>, const char*>> cases = {
      {[](const std::string&) { return std::string(); }, "empty"},
      {[](const std::string& bytes) { return bytes.substr(0, 20); }, "it has 20 bytes"},
      {put(0, 'X'), "does not begin with ATHTOKEN"},
      {put(8, 2), "version 2"},
      {put(12, 3), "3 bytes instead of 2 or 4"},
      {put(16 + 7, 0x80), "vocabulary is -"},
      {put(24, 5), "8 bytes of ids, and its header speaks of 5 ids of 2 bytes"},
      {put(24 + 7, 0x80), "header speaks of -"},
      {[](const std::string& bytes) { return bytes + "x"; }, "9 bytes of ids"},
      {[](const std::string& bytes) { return bytes.substr(0, bytes.size() - 2); }, "6 bytes of ids"},
  };
  for (const auto& [damage, expected] : cases) {
    const std::string path = folder_ + "/damaged";
    files_.replace(path, damage(good));
    try {
      const TokenFile file(path);
      ADD_FAILURE() << "not refused: " << expected;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
      EXPECT_THAT(error.what(), HasSubstr(expected));
      EXPECT_THAT(error.what(), HasSubstr(path));
    }
  }
}

TEST_F(TokenFileTest, RefusesADamagedIdWhenItIsRead) {
  std::string bytes = files_.read_all(write(300, {1, 2, 3, 4}));
  bytes.back() = 2;  // id 3 becomes 4 + 512
  const std::string path = folder_ + "/damaged";
  files_.replace(path, bytes);
  const TokenFile file(path);
  std::vector<std::int32_t> ids(3);
  file.read(0, ids);
  try {
    file.read(1, ids);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("id 3 is 516"));
  }
}

TEST_F(TokenFileTest, SaysThatAFileIsMissing) {
  try {
    const TokenFile file(folder_ + "/none");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNotFound);
    EXPECT_THAT(error.what(), HasSubstr("none"));
  }
}

}  // namespace
}  // namespace athanor::data
