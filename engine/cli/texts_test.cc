#include "engine/cli/texts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "common/temporary_folder.h"
#include "engine/cli/test_support.h"

namespace athanor::llm {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(TextFiles, AreFoundInOrderWithoutHiddenOnes) {
  const TemporaryFolder folder;
  const std::string b = folder.put("b.txt", "b"), c = folder.put("a/c.txt", "c");
  folder.put(".hidden", "x");
  folder.put("a/.git/x", "x");
  SystemFiles files;
  EXPECT_THAT(text_files(files, {folder.path()}), ElementsAre(c, b));
  EXPECT_THAT(text_files(files, {b, folder / "a"}), ElementsAre(b, c));
  EXPECT_EQ(total_bytes(files, {b, c}), 2U);
}

TEST(TextFiles, LinksLeadToFilesAndToTheFolderThatTheUserNames) {
  const TemporaryFolder folder;
  const std::string text = std::filesystem::canonical(folder.put("texts/a.txt", "a"));
  const std::string texts = std::filesystem::path(text).parent_path();
  std::filesystem::create_directory_symlink(texts, folder / "link");
  std::filesystem::create_directory_symlink(texts, texts + "/loop");
  std::filesystem::create_symlink(text, texts + "/b.txt");
  SystemFiles files;
  EXPECT_THAT(text_files(files, {folder / "link"}), ElementsAre(text, text));
  std::filesystem::create_symlink(folder / "none", texts + "/dead");
  EXPECT_THROW(text_files(files, {texts}), Error);
}

TEST(TextFiles, SaysWhatIsMissing) {
  const TemporaryFolder folder;
  SystemFiles files;
  for (const std::string& path : {folder.path(), folder / "none"}) {
    try {
      text_files(files, {path});
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(path));
    }
  }
}

TEST(Pieces, TogetherAreTheText) {
  const TemporaryFolder folder;
  SystemFiles files;
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{1000}, std::size_t{9'000'000}}) {
    const std::string text = bytes == 0 ? "" : some_text(bytes);
    std::string together;
    int pieces = 0;
    for_each_piece(files, folder.put("text", text), [&](std::string_view piece) {
      together += piece;
      ++pieces;
    });
    EXPECT_EQ(together, text);
    EXPECT_EQ(pieces > 1, bytes > 5'000'000);
  }
}

TEST(Pieces, AFileThatIsNotTextIsRefusedWithThePlace) {
  const TemporaryFolder folder;
  SystemFiles files;
  const std::string long_text = some_text(6'000'000);
  for (const auto& [contents, place] : std::vector<std::pair<std::string, std::string>>{
           {std::string("ab\0c", 4), "byte 2 is 0x00"},
           {"abc\xff", "byte 3 is 0xff"},
           {"caf\xe9 au lait", "byte 3 is 0xe9"},
           {long_text + "\xff and more", "byte " + std::to_string(long_text.size()) + " is 0xff"}}) {
    const std::string path = folder.put("bad.txt", contents);
    try {
      for_each_piece(files, path, [](std::string_view) {});
      ADD_FAILURE() << place;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), AllOf(HasSubstr(path), HasSubstr(place)));
    }
  }
}

}  // namespace
}  // namespace athanor::llm
