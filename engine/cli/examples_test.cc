#include "engine/cli/examples.h"

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

using testing::ElementsAre;
using testing::HasSubstr;

std::string chat(const std::string& question, const std::string& answer) {
  return R"({"messages": [{"role": "user", "content": ")" + question + R"("}, {"role": "assistant", "content": ")" +
         answer + "\"}]}\n";
}

class ExamplesTest : public testing::Test {
 protected:
  Examples prepare(const ExampleOptions& options) { return prepare_examples(files_, options, tokenizer_, alone_); }
  // The documents as text.
  std::vector<std::string> texts(const std::shared_ptr<const data::DocumentFile>& file) {
    std::vector<std::string> documents;
    for (std::int64_t i = 0; file && i < file->count(); ++i) {
      std::vector<std::int32_t> ids(static_cast<std::size_t>(file->end(i) - file->begin(i)));
      file->read(file->begin(i), ids);
      documents.push_back(tokenizer_.decode(ids, true));
    }
    return documents;
  }
  std::string refusal(const ExampleOptions& options) {
    try {
      prepare(options);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalid);
      return error.what();
    }
    ADD_FAILURE() << "not refused";
    return {};
  }

  TemporaryFolder folder_;
  SystemFiles files_;
  parallel::Alone alone_;
  const model::Tokenizer tokenizer_ = chat_tokenizer();
};

TEST_F(ExamplesTest, LinesAndTextsMayLieInOneFolder) {
  folder_.put("data/a.jsonl", chat("One?", "light") + "\n" + R"({"prompt": "the", "completion": " light"})" + "\n" +
                                  R"({"text": "waters"})");
  folder_.put("data/b.txt", "darkness was");
  folder_.put("data/c.txt", "");
  folder_.put("other.jsonl", chat("Two?", "waters"));
  const Examples examples =
      prepare({.train = {folder_ / "data"}, .held_out = {folder_ / "other.jsonl"}, .held_out_part = 0.5, .length = 64});
  EXPECT_THAT(texts(examples.train),
              ElementsAre("<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\nlight<|im_end|>\n",
                          "the light<|im_end|>", "waters<|im_end|>", "darkness was<|im_end|>"));
  EXPECT_THAT(texts(examples.held_out),
              ElementsAre("<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\nwaters<|im_end|>\n"));
}

TEST_F(ExamplesTest, AnExampleInSoManyIsHeldOut) {
  std::string lines;
  for (int i = 0; i < 40; ++i) lines += R"({"text": "number )" + std::to_string(i) + "\"}\n";
  const std::string path = folder_.put("a.jsonl", lines);
  const Examples examples = prepare({.train = {path}, .held_out_part = 0.05, .length = 64});
  EXPECT_EQ(examples.train->count(), 38);
  EXPECT_THAT(texts(examples.held_out), ElementsAre("number 19<|im_end|>", "number 39<|im_end|>"));
  EXPECT_EQ(prepare({.train = {path}, .held_out_part = 0.02, .length = 64}).held_out, nullptr);
  EXPECT_EQ(prepare({.train = {path}, .held_out_part = 0, .length = 64}).train->count(), 40);
}

TEST_F(ExamplesTest, PairsStayTogether) {
  std::string lines;
  for (int i = 0; i < 20; ++i) {
    lines += fmt::format("{{\"prompt\": \"{} \", \"chosen\": \"light\", \"rejected\": \"dark\"}}\n", i);
  }
  folder_.put("data/a.jsonl", lines);
  const Examples examples = prepare({.train = {folder_ / "data"}, .held_out_part = 0.1, .length = 64, .pairs = true});
  EXPECT_EQ(examples.train->header().group, 2);
  EXPECT_EQ(examples.train->count(), 36);
  EXPECT_THAT(texts(examples.held_out),
              ElementsAre("9 light<|im_end|>", "9 dark<|im_end|>", "19 light<|im_end|>", "19 dark<|im_end|>"));
  EXPECT_THAT(refusal({.train = {folder_.put("data/b.txt", "In the beginning")}, .length = 64, .pairs = true}),
              HasSubstr("b.txt is no file of preferences"));
  EXPECT_THAT(refusal({.train = {folder_.put("c.jsonl", lines + R"({"prompt": "x", "chosen": "y"})")},
                       .length = 64,
                       .pairs = true}),
              HasSubstr("c.jsonl, line 21: \"rejected\" is missing"));
}

TEST_F(ExamplesTest, ALongTextIsCutAndAChatIsNot) {
  const std::string text = some_text(3'000), path = folder_.put("a.txt", text);
  const std::string chats = folder_.put("b.jsonl", chat("One?", std::string(400, 'x')));
  const Examples examples = prepare({.train = {path, chats}, .length = 32});
  std::vector<std::int32_t> expected = tokenizer_.encode(text), found;
  expected.push_back(*tokenizer_.eos());
  const std::int64_t last = examples.train->count() - 1;
  for (std::int64_t i = 0; i < last; ++i) {
    std::vector<std::int32_t> ids(static_cast<std::size_t>(examples.train->end(i) - examples.train->begin(i)));
    examples.train->read(examples.train->begin(i), ids);
    EXPECT_LE(ids.size(), 33);
    found.insert(found.end(), ids.begin() + (i > 0), ids.end());
  }
  EXPECT_EQ(found, expected);
  EXPECT_GT(examples.train->end(last) - examples.train->begin(last), 64);
}

// A run that goes on later is to learn from the same tokens.
TEST_F(ExamplesTest, ChatsAreOfTheDayThatIsGiven) {
  const model::Tokenizer dated =
      model::with_chat_template(tokenizer_,
                                "{% for m in messages %}{{ strftime_now('%Y-%m-%d') }} {{ m.content }}{% endfor %}");
  const std::string path = folder_.put("a.jsonl", chat("One?", "light"));
  const auto of_day = [&](std::time_t now) {
    return prepare_examples(files_, {.train = {path}, .length = 64, .now = now}, dated, alone_).train;
  };
  EXPECT_THAT(texts(of_day(86'399)), ElementsAre(HasSubstr("1970-01-01 light")));
  EXPECT_THAT(texts(of_day(86'400)), ElementsAre(HasSubstr("1970-01-02 light")));
  EXPECT_EQ(of_day(0)->fingerprint(), of_day(86'399)->fingerprint());
  EXPECT_NE(of_day(0)->fingerprint(), of_day(86'400)->fingerprint());
}

TEST_F(ExamplesTest, EveryRankGetsWhatRankZeroSees) {
  std::string lines;
  for (int i = 0; i < 50; ++i) {
    lines += chat("number " + std::to_string(i), some_text(static_cast<std::size_t>(5 + i)).substr(0, 4));
  }
  const std::string path = folder_.put("a.jsonl", lines);
  const Examples expected = prepare({.train = {path}, .held_out_part = 0.1, .length = 64});
  std::mutex mutex;
  int checked = 0;
  parallel::ThreadGroup(3).run([&](parallel::Collectives& collectives) {
    const ExampleOptions options{.train = {collectives.rank() == 0 ? path : "nowhere"},
                                 .held_out_part = 0.1,
                                 .length = 64};
    const Examples examples = prepare_examples(files_, options, tokenizer_, collectives);
    const std::lock_guard lock(mutex);
    EXPECT_EQ(texts(examples.train), texts(expected.train));
    EXPECT_EQ(texts(examples.held_out), texts(expected.held_out));
    EXPECT_EQ(examples.train->fingerprint(), expected.train->fingerprint());
    ++checked;
  });
  EXPECT_EQ(checked, 3);
}

TEST_F(ExamplesTest, WhatCannotBeLearntFromIsNamed) {
  const auto given = [&](const std::string& name, const std::string& contents) {
    return ExampleOptions{.train = {folder_.put(name, contents)}, .length = 64};
  };
  EXPECT_THAT(refusal(given("a.jsonl", chat("a", "b") + "{\"text\": ")), HasSubstr("a.jsonl, line 2: not JSON"));
  EXPECT_THAT(refusal(given("b.jsonl", R"({"messages": [{"role": "user", "content": "x"}]})")),
              HasSubstr("b.jsonl, line 1: none of its messages has the role \"assistant\""));
  EXPECT_THAT(refusal(given("c.jsonl", "\n")), HasSubstr("c.jsonl has no lines"));
  EXPECT_THAT(refusal(given("d.txt", "")), HasSubstr("There is nothing to learn"));
  EXPECT_THAT(refusal(given("e.txt", "\xFF")), HasSubstr("e.txt is not UTF-8 text"));
  EXPECT_THAT(refusal({.train = {folder_.put("f.txt", "x")}, .held_out = {folder_.put("g.jsonl", "{}")}, .length = 64}),
              HasSubstr("g.jsonl, line 1: it has neither"));
}

}  // namespace
}  // namespace athanor::llm
