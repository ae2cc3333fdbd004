#include "engine/cli/texts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "common/temporary_folder.h"
#include "engine/cli/test_support.h"
#include "engine/model/tokenizer/bpe_trainer.h"

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

TEST(Pieces, AreCutWhereNoTokenChanges) {
  const TemporaryFolder folder;
  SystemFiles files;
  std::string chinese, digits(9'000'000, '7'), marked;
  while (chinese.size() < 9'000'000) chinese += "起初，神创造天地；地是空虚混沌，渊面黑暗。";
  for (std::size_t i = 0; marked.size() < 9'000'000; ++i) marked += i % 7 == 0 ? "<|endoftext|>" : "神创造天地，";
  model::BpeTrainer trainer(model::PreTokenizer::gpt2());
  trainer.feed(chinese.substr(0, 6000) + digits.substr(0, 100));
  const model::Tokenizer tokenizer = trainer.train({.vocabulary = 300});
  for (const std::string* text : {&chinese, &marked, &digits}) {
    std::vector<model::TokenId> ids;
    int pieces = 0;
    for_each_piece(files, folder.put("text", *text), [&](std::string_view piece) {
      ++pieces;
      if (text == &digits) return;  // as one piece they would be hours of merging
      for (const model::TokenId id : tokenizer.encode(piece)) ids.push_back(id);
    });
    if (text == &digits) {
      EXPECT_EQ(pieces, 1);
    } else {
      EXPECT_GT(pieces, 1);
      EXPECT_TRUE(ids == tokenizer.encode(*text));
    }
  }
}

TEST(Pieces, AFileThatIsNotTextIsRefusedWithThePlace) {
  const TemporaryFolder folder;
  SystemFiles files;
  const std::string long_text = some_text(6'000'000);
  for (const auto& [contents, place] :
       std::vector<std::pair<std::string, std::string>>{{std::string("ab\0c", 4), "byte 2 is 0x00"},
                                                        {"abc\xff", "byte 3 is 0xff"},
                                                        {"caf\xe9 au lait", "byte 3 is 0xe9"},
                                                        {std::string(30'000'000, '7').replace(9'000'000, 1, "\xff"),
                                                         "byte 9000000 is 0xff"},
                                                        {long_text + "\xff and more",
                                                         "byte " + std::to_string(long_text.size()) + " is 0xff"}}) {
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
