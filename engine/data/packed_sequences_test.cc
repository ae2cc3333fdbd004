#include "engine/data/packed_sequences.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "common/error.h"
#include "common/temporary_folder.h"
#include "engine/data/preference_sequences.h"

namespace athanor::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Documents whose every token is its own place in the file; the first `read_only` of each are not in the loss.
std::shared_ptr<const DocumentFile> documents(const std::vector<int>& sizes, int read_only = 0,
                                              std::int64_t group = 1) {
  const TemporaryFolder folder;
  SystemFiles files;
  std::int32_t next = 0;
  DocumentFileWriter writer(files, folder / "x", 1 << 20, {}, group);
  for (const int size : sizes) {
    std::vector<TokenRun> runs(2);
    runs[1].in_loss = true;
    for (int i = 0; i < size; ++i) runs[i >= read_only].tokens.push_back(next++);
    writer.append(runs);
  }
  writer.finish();
  return std::make_shared<const DocumentFile>(folder / "x");  // the mapping outlives the folder
}

struct Filled {
  explicit Filled(std::int64_t length)
      : tokens(static_cast<std::size_t>(length), -7), targets(tokens), starts(tokens) {}
  Row row() { return {tokens, targets, starts}; }
  bool operator==(const Filled&) const = default;
  std::vector<std::int32_t> tokens, targets, starts;
};

Filled drawn(Sequences& from, std::int64_t step, std::int64_t index, std::int64_t length) {
  Filled filled(length);
  from.training(step, index, filled.row());
  return filled;
}

TEST(PackedSequences, ARowHoldsDocumentsApartAndItsRestLearnsNothing) {
  PackedSequences sequences(documents({4, 6}), nullptr, {.length = 10, .batch = 1});
  EXPECT_TRUE(sequences.packed());
  EXPECT_EQ(sequences.rows(), 1);
  EXPECT_DOUBLE_EQ(sequences.filled(), 0.8);
  const Filled row = drawn(sequences, 1, 0, 10);
  EXPECT_THAT(row.tokens, ElementsAre(4, 5, 6, 7, 8, 0, 1, 2, 0, 0));
  EXPECT_THAT(row.targets, ElementsAre(5, 6, 7, 8, 9, 1, 2, 3, -1, -1));
  EXPECT_THAT(row.starts, ElementsAre(0, 0, 0, 0, 0, 5, 5, 5, 8, 9));
}

TEST(PackedSequences, LearnsOnlyWhatIsInTheLoss) {
  PackedSequences sequences(documents({5}, 3), nullptr, {.length = 4, .batch = 1});
  EXPECT_THAT(drawn(sequences, 1, 0, 4).targets, ElementsAre(-1, -1, 3, 4));
}

TEST(PackedSequences, LongDocumentsAreSplitOrTruncated) {
  const auto long_one = documents({10}, 6);
  // Of the pieces [0..4], [4..8] and [8..9] the first has nothing to learn.
  const Pieces split = pieces_of(*long_one, 4, LongDocuments::kSplit);
  EXPECT_THAT(split.pieces, ElementsAre(Piece{4, 4}, Piece{8, 1}));
  EXPECT_EQ(split.long_documents, 1);
  EXPECT_EQ(split.left_out, 0);
  const Pieces truncated = pieces_of(*long_one, 4, LongDocuments::kTruncate);
  EXPECT_THAT(truncated.pieces, ElementsAre());
  EXPECT_EQ(truncated.left_out, 1);
  EXPECT_THAT(pieces_of(*long_one, 6, LongDocuments::kTruncate).pieces, ElementsAre(Piece{0, 6}));
  EXPECT_EQ(pieces_of(*documents({1, 1, 2}), 4, LongDocuments::kSplit).left_out, 2);  // nothing predicts a first token
  try {
    PackedSequences(long_one, nullptr, {.length = 4, .batch = 1, .long_documents = LongDocuments::kTruncate});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("larger length"));
  }
}

TEST(PackedSequences, AnEpochTakesEveryDocumentOnceAndAnyPlaceIsReachedDirectly) {
  std::vector<int> sizes;
  for (int i = 0; i < 200; ++i) sizes.push_back(2 + i * 7 % 30);
  const auto file = documents(sizes);
  const PackedSequencesOptions options{.length = 32, .batch = 3, .seed = 5};
  PackedSequences sequences(file, nullptr, options), other(file, nullptr, options);
  std::int64_t targets_in_all = 0;
  for (const int size : sizes) targets_in_all += size - 1;
  std::vector<Filled> epochs[2];
  for (std::int64_t number = 0; number < 2 * sequences.rows(); ++number) {
    epochs[number / sequences.rows()].push_back(drawn(sequences, number / 3 + 1, number % 3, 32));
  }
  for (const auto& epoch : epochs) {
    std::set<std::int32_t> learnt;
    for (const Filled& row : epoch) {
      for (std::size_t i = 0; i < row.tokens.size(); ++i) {
        if (row.targets[i] < 0) continue;
        EXPECT_TRUE(learnt.insert(row.targets[i]).second);
        const auto start = static_cast<std::size_t>(row.starts[i]);
        EXPECT_EQ(row.tokens[i] - row.tokens[start], static_cast<std::int32_t>(i - start));
      }
    }
    EXPECT_EQ(static_cast<std::int64_t>(learnt.size()), targets_in_all);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  for (std::int64_t number = sequences.rows(); number-- > 0;) {
    EXPECT_EQ(drawn(other, number / 3 + 1, number % 3, 32), epochs[0][static_cast<std::size_t>(number)]);
  }
}

TEST(PackedSequences, HeldOutDocumentsArePackedTheSameWay) {
  PackedSequences sequences(documents({4}), documents({4, 4, 9}), {.length = 8, .batch = 1});
  ASSERT_EQ(sequences.evaluation_count(8), 2);
  Filled row(8);
  sequences.evaluation(1, row.row());
  EXPECT_THAT(row.starts, ElementsAre(0, 0, 0, 3, 3, 3, 6, 7));
  EXPECT_EQ(PackedSequences(documents({4}), nullptr, {.length = 8, .batch = 1}).evaluation_count(8), 0);
}

TEST(PreferenceSequences, GiveBothAnswersOfAPair) {
  const PreferenceSequences pairs(documents({4, 5, 9, 3, 9, 6}, 2, 2), {.length = 5, .batch = 2});
  EXPECT_EQ(pairs.pairs(), 3);
  Filled chosen(5), rejected(5);
  pairs.read(0, chosen.row(), rejected.row());
  EXPECT_THAT(chosen.tokens, ElementsAre(0, 1, 2, 0, 0));
  EXPECT_THAT(chosen.targets, ElementsAre(-1, 2, 3, -1, -1));
  EXPECT_THAT(chosen.starts, ElementsAre(0, 0, 0, 3, 4));
  EXPECT_THAT(rejected.tokens, ElementsAre(4, 5, 6, 7, 0));
  EXPECT_THAT(rejected.targets, ElementsAre(-1, 6, 7, 8, -1));
  // A row need not be longer than both.
  EXPECT_EQ(pairs.length(0), 4);
  EXPECT_EQ(pairs.length(2), 5);
  EXPECT_EQ(pairs.long_pairs(), 2);
  Filled short_chosen(4), short_rejected(4);
  pairs.read(0, short_chosen.row(), short_rejected.row());
  EXPECT_THAT(short_chosen.targets, ElementsAre(-1, 2, 3, -1));
  EXPECT_THAT(short_rejected.targets, ElementsAre(-1, 6, 7, 8));
  pairs.read(2, chosen.row(), rejected.row());
  EXPECT_THAT(chosen.targets, ElementsAre(-1, 23, 24, 25, 26));  // the end is left out
  std::set<std::int64_t> epoch;
  for (std::int64_t number = 0; number < 3; ++number) epoch.insert(pairs.training(number / 2 + 1, number % 2));
  EXPECT_EQ(epoch.size(), 3U);
}

TEST(PreferenceSequences, LeavesOutPairsWithoutAnAnswerAndRefusesOtherFiles) {
  EXPECT_EQ(PreferenceSequences(documents({4, 5, 9, 6}, 4, 2), {.length = 5, .batch = 2}).left_out(), 1);
  EXPECT_EQ(PreferenceSequences(documents({4, 4}, 4, 2), {.length = 5, .batch = 2}).pairs(), 0);
  EXPECT_THROW(PreferenceSequences(documents({4, 5}, 2, 1), {.length = 5, .batch = 2}), Error);
}

}  // namespace
}  // namespace athanor::data
