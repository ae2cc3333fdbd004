#include "engine/data/document_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "common/error.h"
#include "common/temporary_folder.h"

namespace athanor::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class DocumentFileTest : public testing::Test {
 protected:
  std::string write(std::int64_t vocabulary, const std::vector<std::vector<TokenRun>>& documents,
                    std::int64_t group = 1) {
    const std::string path = folder_ / "chats.documents";
    DocumentFileWriter writer(files_, path, vocabulary, std::string(32, 'd'), group);
    for (const auto& document : documents) writer.append(document);
    writer.finish();
    return path;
  }

  const TemporaryFolder folder_;
  SystemFiles files_;
};

std::vector<std::int32_t> tokens(const Documents& file, std::int64_t document) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(file.end(document) - file.begin(document)));
  file.read(file.begin(document), ids);
  return ids;
}

std::vector<std::int32_t> targets(const Documents& file, std::int64_t document) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(file.end(document) - file.begin(document)));
  file.read_targets(file.begin(document), ids);
  return ids;
}

TEST_F(DocumentFileTest, GivesBackWhatWasWrittenInBothWidths) {
  for (const std::int64_t vocabulary : {300, (1 << 16) + 1}) {
    const DocumentFile file(write(vocabulary, {{{{1, 2, 3}, false}, {{4}, true}, {{5}, false}}, {{{6}, true}}}));
    EXPECT_EQ(file.header().id_bytes, vocabulary == 300 ? 2U : 4U);
    EXPECT_EQ(file.header().tokenizer_sha256, std::string(32, 'd'));
    ASSERT_EQ(file.count(), 2);
    EXPECT_THAT(tokens(file, 0), ElementsAre(1, 2, 3, 4, 5));
    EXPECT_THAT(targets(file, 0), ElementsAre(-1, -1, -1, 4, -1));
    EXPECT_THAT(tokens(file, 1), ElementsAre(6));
    EXPECT_THAT(targets(file, 1), ElementsAre(6));
  }
}

TEST_F(DocumentFileTest, KnowsWhichPartsAreLearntAcrossWords) {
  std::vector<TokenRun> runs;
  for (std::int32_t i = 0; i < 700'000; ++i) {
    runs.push_back({{i % 1000}, i == 100 || i == 699'999});  // beyond the buffer
  }
  const DocumentFile file(write(1000, {runs}));
  for (const std::int64_t first : {0, 1, 63, 64, 65, 100, 101, 128}) {
    for (const std::int64_t last : {0, 1, 64, 99, 100, 101, 102, 164, 200'000, 699'999}) {
      if (first > last) continue;
      EXPECT_EQ(file.learns(first, last), first <= 100 && last > 100) << first << " to " << last;
    }
    EXPECT_TRUE(file.learns(first, 700'000));
  }
  std::vector<std::int32_t> last(2);
  file.read_targets(699'998, last);
  EXPECT_THAT(last, ElementsAre(-1, 999));
}

TEST_F(DocumentFileTest, AppearsWholeOrNotAtAll) {
  {
    DocumentFileWriter writer(files_, folder_ / "unfinished", 10, {}, 1);
    writer.append(std::vector<TokenRun>{{{1}, true}});
    EXPECT_FALSE(files_.stat(folder_ / "unfinished"));
  }
  EXPECT_TRUE(files_.list(folder_.path()).empty());
  EXPECT_EQ(DocumentFile(write(10, {})).count(), 0);
}

TEST_F(DocumentFileTest, RefusesIdsBeyondTheVocabulary) {
  DocumentFileWriter writer(files_, folder_ / "bad", 10, {}, 1);
  EXPECT_THROW(writer.append(std::vector<TokenRun>{{{10}, true}}), Error);
  EXPECT_THROW(writer.append(std::vector<TokenRun>{{{-1}, true}}), Error);
}

TEST_F(DocumentFileTest, RefusesDamageWithWhatWasFound) {
  const std::string good = files_.read_all(write(300, {{{{1, 2, 3}, true}}, {{{4, 5}, true}}}, 2));
  ASSERT_EQ(good.size(), 96U + 16 + 16 + 8);
  const auto put = [](std::size_t at, std::uint8_t byte) {
    return [=](std::string bytes) { return bytes[at] = static_cast<char>(byte), bytes; };
  };
  const std::vector<std::pair<std::function<std::string(std::string)>, const char*>> cases = {
      {[](const std::string&) { return std::string(); }, "empty"},
      {[](const std::string& bytes) { return bytes.substr(0, 20); }, "it has 20 bytes"},
      {put(0, 'X'), "does not begin with ATHDOCUM"},
      {put(8, 2), "version 2"},
      {put(12, 3), "3 bytes instead of 2 or 4"},
      {put(16 + 7, 0x80), "vocabulary is -"},
      {put(24, 6), "end at id 5 of 6"},
      {put(24, 60), "60 ids in 2 documents take"},
      {put(24 + 7, 0x7F), "ids in 2 documents"},
      {put(32, 1), "1 documents in groups of 2"},
      {put(32, 9), "9 documents"},
      {put(40, 3), "in groups of 3"},
      {[](const std::string& bytes) { return bytes + "x"; }, "it has 137 bytes"},
      {put(96 + 16, 0), "document 0 of 2 ends at id 0"},
      {put(96 + 24, 3), "document 1 of 2 ends at id 3, after 3"},
      {put(96 + 24, 6), "document 1 of 2 ends at id 6, after 3 and of 5"},
      {put(96 + 24, 4), "end at id 4 of 5"},
  };
  for (const auto& [damage, expected] : cases) {
    const std::string path = folder_ / "damaged";
    files_.replace(path, damage(good));
    try {
      const DocumentFile file(path);
      ADD_FAILURE() << "not refused: " << expected;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
      EXPECT_THAT(error.what(), HasSubstr(expected));
      EXPECT_THAT(error.what(), HasSubstr(path));
    }
  }
  files_.replace(folder_ / "damaged", put(97, 2)(good));
  const DocumentFile file(folder_ / "damaged");
  EXPECT_THROW(tokens(file, 0), Error);
}

TEST_F(DocumentFileTest, ATokenFileHasDocumentsToo) {
  const std::string path = folder_ / "text.tokens";
  TokenFileWriter writer(files_, path, 300, {});
  std::vector<std::int32_t> ids(200'000, 7);
  for (const std::size_t end : {3, 5, 5 * 13107, 131'071, 131'072}) ids[end] = 0;
  writer.append(ids);
  writer.finish();
  const TokenDocuments documents(std::make_shared<const TokenFile>(path), 0);
  std::vector<std::int64_t> ends;
  for (std::int64_t i = 0; i < documents.count(); ++i) ends.push_back(documents.end(i));
  EXPECT_THAT(ends, ElementsAre(4, 6, 65536, 131'072, 131'073, 200'000));
  EXPECT_THAT(tokens(documents, 0), ElementsAre(7, 7, 7, 0));
  EXPECT_THAT(targets(documents, 1), ElementsAre(7, 0));
}

}  // namespace
}  // namespace athanor::data
