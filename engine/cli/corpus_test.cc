#include "engine/cli/corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>

#include "common/error.h"
#include "common/temporary_folder.h"
#include "engine/cli/test_support.h"
#include "engine/model/tokenizer/tokenizer_files.h"
#include "engine/parallel/thread_group.h"

namespace athanor::llm {
namespace {

using testing::HasSubstr;

std::vector<std::int32_t> all_of(const data::TokenFile& file) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(file.count()));
  file.read(0, ids);
  return ids;
}

class CorpusTest : public testing::Test {
 protected:
  Corpus prepare(const CorpusOptions& options) { return prepare_corpus(files_, options, alone_); }
  std::string refusal(const CorpusOptions& options) {
    try {
      prepare(options);
    } catch (const Error& error) {
      return error.what();
    }
    ADD_FAILURE() << "not refused";
    return {};
  }

  TemporaryFolder folder_;
  SystemFiles files_;
  parallel::Alone alone_;
};

TEST_F(CorpusTest, TokensAreThoseOfTheTextsEachEnded) {
  const std::string a = some_text(20'000, 1), b = some_text(5'000, 2), held_out = some_text(3'000, 3);
  folder_.put("train/a.txt", a);
  folder_.put("train/b.txt", b);
  const Corpus corpus =
      prepare({.train = {folder_ / "train"}, .held_out = {folder_.put("held-out.txt", held_out)}, .vocabulary = 300});
  const model::TokenId end = *corpus.tokenizer.end_of_text();
  std::vector<std::int32_t> expected = corpus.tokenizer.encode(a);
  expected.push_back(end);
  for (const auto id : corpus.tokenizer.encode(b)) expected.push_back(id);
  expected.push_back(end);
  EXPECT_EQ(all_of(*corpus.train), expected);
  expected = corpus.tokenizer.encode(held_out);
  expected.push_back(end);
  EXPECT_EQ(all_of(*corpus.held_out), expected);
}

TEST_F(CorpusTest, WithoutHeldOutTextTheEndIsKeptAndNothingIsLostOrRepeated) {
  for (const double part : {0.0, 0.02, 0.5}) {
    const std::string a = some_text(20'000, 1), b = some_text(5'000, 2);
    folder_.put("train/a.txt", a);
    folder_.put("train/b.txt", b);
    const Corpus corpus = prepare({.train = {folder_ / "train"}, .held_out_part = part, .vocabulary = 300});
    std::string text = corpus.tokenizer.decode(all_of(*corpus.train));
    if (part == 0) {
      EXPECT_EQ(corpus.held_out, nullptr);
    } else {
      EXPECT_NEAR(static_cast<double>(text.size()), 25'000 * (1 - part), 100);
      text += corpus.tokenizer.decode(all_of(*corpus.held_out));
    }
    EXPECT_EQ(text, a + b);
  }
}

TEST_F(CorpusTest, EveryRankGetsWhatRankZeroSees) {
  const std::string text = folder_.put("a.txt", some_text(50'000));
  const Corpus expected = prepare({.train = {text}, .held_out_part = 0.1, .vocabulary = 300});
  std::mutex mutex;
  int checked = 0;
  parallel::ThreadGroup(3).run([&](parallel::Collectives& collectives) {
    // Only rank 0 knows where the texts are.
    const CorpusOptions options{.train = {collectives.rank() == 0 ? text : "nowhere"},
                                .held_out_part = 0.1,
                                .vocabulary = 300};
    const Corpus corpus = prepare_corpus(files_, options, collectives);
    const std::lock_guard lock(mutex);
    EXPECT_EQ(all_of(*corpus.train), all_of(*expected.train));
    EXPECT_EQ(all_of(*corpus.held_out), all_of(*expected.held_out));
    EXPECT_EQ(model::pack_tokenizer(corpus.tokenizer), model::pack_tokenizer(expected.tokenizer));
    ++checked;
  });
  EXPECT_EQ(checked, 3);
}

TEST_F(CorpusTest, AFailureOfRankZeroEndsTheOthers) {
  EXPECT_THROW(parallel::ThreadGroup(2).run([&](parallel::Collectives& collectives) {
    prepare_corpus(files_, {.train = {folder_ / "none"}}, collectives);
  }),
               Error);
}

TEST_F(CorpusTest, ATokenFileStandsForTextsWithTheTokenizerThatMadeIt) {
  const std::string text = folder_.put("a.txt", some_text(30'000));
  const model::Tokenizer tokenizer = train_tokenizer(files_, {text}, 300);
  const std::string tokenizer_folder = folder_ / "tokenizer", tokens = folder_ / "a.tokens";
  std::filesystem::create_directory(tokenizer_folder);
  model::save_tokenizer(files_, tokenizer_folder, tokenizer, 128);
  data::TokenFileWriter writer(files_, tokens, tokenizer.vocabulary(), tokenizer_digest(tokenizer));
  encode_texts(files_, {text}, tokenizer, writer);
  writer.finish();

  const Corpus from_text = prepare({.train = {text}, .held_out_part = 0, .tokenizer = tokenizer_folder});
  const Corpus from_tokens = prepare({.train = {tokens}, .tokenizer = tokenizer_folder});
  EXPECT_EQ(all_of(*from_tokens.train), all_of(*from_text.train));
  EXPECT_EQ(from_tokens.held_out, nullptr);

  EXPECT_THAT(refusal({.train = {tokens}}), HasSubstr("--tokenizer"));
  EXPECT_THAT(refusal({.train = {tokens, text}, .tokenizer = tokenizer_folder}), HasSubstr("one token file"));
  const std::string other = folder_.put("b.txt", some_text(30'000, 9) + "xyxyxyxyxyxyxy xyxyxyxy");
  const std::string other_folder = folder_ / "other";
  std::filesystem::create_directory(other_folder);
  model::save_tokenizer(files_, other_folder, train_tokenizer(files_, {other}, 300), 128);
  EXPECT_THAT(refusal({.train = {tokens}, .tokenizer = other_folder}), HasSubstr("another tokenizer"));
}

TEST_F(CorpusTest, ARunThatGoesOnKeepsTheTokenizerItBeganWith) {
  const std::string first = folder_.put("a.txt", some_text(30'000)),
                    second = folder_.put("b.txt", "xyxyxyxy xyxyxy zyzyzy " + some_text(20'000, 9));
  const model::Tokenizer tokenizer = train_tokenizer(files_, {first}, 300);
  const std::string kept = model::pack_tokenizer(tokenizer);
  ASSERT_NE(model::pack_tokenizer(prepare({.train = {second}, .vocabulary = 300}).tokenizer), kept);
  const Corpus corpus = prepare({.train = {second}, .held_out_part = 0, .kept_tokenizer = kept, .vocabulary = 300});
  EXPECT_EQ(model::pack_tokenizer(corpus.tokenizer), kept);
  std::vector<std::int32_t> expected = tokenizer.encode(files_.read_all(second));
  expected.push_back(*tokenizer.end_of_text());
  EXPECT_EQ(all_of(*corpus.train), expected);

  const std::string other = folder_ / "other";
  std::filesystem::create_directory(other);
  model::save_tokenizer(files_, other, train_tokenizer(files_, {second}, 300), 128);
  EXPECT_THAT(refusal({.train = {second}, .tokenizer = other, .kept_tokenizer = kept}),
              HasSubstr(other + " is another than the checkpoints'"));
}

}  // namespace
}  // namespace athanor::llm
