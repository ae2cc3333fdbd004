#include "engine/data/token_sequences.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <numeric>
#include <set>

#include "common/error.h"
#include "common/temporary_folder.h"

namespace athanor::data {
namespace {

using testing::HasSubstr;

// A token file of the ids 0, 1, 2, …: an id is its own position.
std::shared_ptr<const TokenFile> counting_file(std::int64_t count) {
  const TemporaryFolder folder;
  SystemFiles files;
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), 0);
  {
    TokenFileWriter writer(files, folder / "counting", 1 << 20, {});
    writer.append(ids);
    writer.finish();
  }
  return std::make_shared<const TokenFile>(folder / "counting");  // the mapping outlives the folder
}

// The length + 1 tokens of a sequence, the last of which is a target only.
std::vector<std::int32_t> drawn(TokenSequences& from, std::int64_t step, std::int64_t index, std::int64_t length) {
  const auto size = static_cast<std::size_t>(length);
  std::vector<std::int32_t> tokens(size), targets(size), starts(size, -1);
  from.training(step, index, {tokens, targets, starts});
  EXPECT_EQ(starts, std::vector<std::int32_t>(size, 0));
  EXPECT_TRUE(std::equal(tokens.begin() + 1, tokens.end(), targets.begin()));
  tokens.push_back(targets.back());
  return tokens;
}

TEST(TokenSequences, AnEpochTakesEveryWindowOnceAndTheNextInAnotherOrder) {
  constexpr std::int64_t kLength = 10, kBatch = 3;
  TokenSequences sequences(counting_file(257), nullptr, {.length = kLength, .batch = kBatch});
  ASSERT_EQ(sequences.windows(), 25);
  std::vector<std::vector<std::int32_t>> order(3);  // by epoch: the windows' starts
  for (std::int64_t number = 0; number < 75; ++number) {
    const auto tokens = drawn(sequences, number / kBatch + 1, number % kBatch, kLength);
    for (std::size_t i = 1; i < tokens.size(); ++i) ASSERT_EQ(tokens[i], tokens[i - 1] + 1);
    order[static_cast<std::size_t>(number / 25)].push_back(tokens.front());
  }
  for (const auto& starts : order) {
    const std::set<std::int32_t> different(starts.begin(), starts.end());
    ASSERT_EQ(different.size(), 25U);
    const std::int32_t offset = *different.begin();
    EXPECT_LE(offset, 6);  // (257 - 1) % 10
    for (const std::int32_t start : different) EXPECT_EQ((start - offset) % kLength, 0);
  }
  EXPECT_NE(order[0], order[1]);
  EXPECT_NE(order[1], order[2]);
}

TEST(TokenSequences, AnyPlaceIsReachedDirectlyAndDependsOnTheSeedAlone) {
  const auto file = counting_file(5000);
  TokenSequences one(file, nullptr, {.length = 16, .batch = 4, .seed = 7});
  TokenSequences other(file, nullptr, {.length = 16, .batch = 4, .seed = 7});
  TokenSequences reseeded(file, nullptr, {.length = 16, .batch = 4, .seed = 8});
  std::vector<std::vector<std::int32_t>> forward;
  for (std::int64_t step = 1; step <= 200; ++step) forward.push_back(drawn(one, step, step % 4, 16));
  int same = 0;
  for (std::int64_t step = 200; step >= 1; --step) {
    const auto& expected = forward[static_cast<std::size_t>(step - 1)];
    EXPECT_EQ(drawn(other, step, step % 4, 16), expected);
    same += drawn(reseeded, step, step % 4, 16) == expected;
  }
  EXPECT_LT(same, 10);
}

TEST(TokenSequences, HeldOutTextIsReadInOrder) {
  TokenSequences sequences(counting_file(100), counting_file(35), {.length = 10, .batch = 1});
  ASSERT_EQ(sequences.evaluation_count(10), 3);
  std::vector<std::int32_t> tokens(10), targets(10), starts(10);
  sequences.evaluation(2, {tokens, targets, starts});
  EXPECT_EQ(tokens.front(), 20);
  EXPECT_EQ(targets.back(), 30);
  EXPECT_EQ(TokenSequences(counting_file(100), nullptr, {.length = 10, .batch = 1}).evaluation_count(10), 0);
  EXPECT_EQ(TokenSequences(counting_file(100), counting_file(0), {.length = 10, .batch = 1}).evaluation_count(10), 0);
}

TEST(TokenSequences, SaysWhenTheTextIsTooShort) {
  EXPECT_EQ(TokenSequences(counting_file(11), nullptr, {.length = 10, .batch = 1}).windows(), 1);
  for (const std::int64_t count : {0, 1, 10}) {
    try {
      TokenSequences(counting_file(count), nullptr, {.length = 10, .batch = 1});
      ADD_FAILURE() << count;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("smaller length"));
    }
  }
}

}  // namespace
}  // namespace athanor::data
