#include "engine/model/tokenizer/tokenizer_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/error.h"
#include "engine/model/tokenizer/bpe_trainer.h"

namespace athanor::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Tokenizer learned() {
  BpeTrainer trainer(PreTokenizer::gpt2());
  trainer.feed("unto the lord");
  return trainer.train({.vocabulary = 260});
}

std::string packed(std::string_view name, std::string_view contents) {
  return fmt::format("{} {}\n{}", name, contents.size(), contents);
}

TEST(PackedTokenizer, HoldsTheFilesThatTokenizersHave) {
  const std::string whole = pack_tokenizer(learned(), 64);
  for (const char* name : {"chat_template.jinja", "vocab.json", "additional_chat_templates/tool use.jinja"}) {
    EXPECT_EQ(unpack_tokenizer(whole + packed(name, "x")).parts().files.count(name), 1u) << name;
  }
  EXPECT_EQ(pack_tokenizer(unpack_tokenizer(whole), 64), whole);
}

TEST(PackedTokenizer, ADamagedOneOrAStrangersFileIsRefused) {
  const std::string whole = pack_tokenizer(learned(), 64);
  const std::pair<std::string, const char*> cases[]{
      {whole + packed("../../x", "x"), "\"../../x\""},
      {whole + packed("/x", "x"), "\"/x\""},
      {whole + packed("", "x"), "\"\""},
      {whole + packed("additional_chat_templates/../../x.jinja", "x"), "x.jinja\""},
      {whole + packed("additional_chat_templates/.jinja", "x"), "/.jinja\""},
      {whole + packed("additional_chat_templates/x", "x"), "templates/x\""},
      {whole + packed("additional_chat_templates", "x"), "templates\""},
      {whole + packed("vocab.json", "x") + packed("vocab.json", "y"), "two files"},
      {whole.substr(0, whole.size() - 1), "size"},
      {whole + "vocab.json 99999999999999999999999\n", "size"},
      {whole + "vocab.json\n", "no list of files"},
      {whole + "vocab.json 1", "no list of files"},
  };
  for (const auto& [bytes, why] : cases) {
    try {
      (void)unpack_tokenizer(bytes);
      ADD_FAILURE() << why << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
      EXPECT_THAT(error.what(), HasSubstr(why));
    }
  }
}

}  // namespace
}  // namespace athanor::model
