#include "engine/model/generate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "common/error.h"
#include "engine/tensor/context.h"

namespace athanor::model {
namespace {

std::map<TokenId, double> frequencies(const GenerateOptions& options, const std::vector<float>& logits) {
  Sampler sampler(options);
  std::map<TokenId, double> counts;
  constexpr int kDraws = 20'000;
  for (int i = 0; i < kDraws; ++i) counts[sampler.draw(logits)] += 1.0 / kDraws;
  return counts;
}

const std::vector<float> kLogits{0.0F, std::log(4.0F), std::log(2.0F), std::log(3.0F)};  // 0.1, 0.4, 0.2, 0.3

TEST(Sampler, DrawsFromTheDistribution) {
  const auto found = frequencies({.temperature = 1, .top_k = 0}, kLogits);
  EXPECT_NEAR(found.at(0), 0.1, 0.02);
  EXPECT_NEAR(found.at(1), 0.4, 0.02);
  EXPECT_NEAR(found.at(2), 0.2, 0.02);
  EXPECT_NEAR(found.at(3), 0.3, 0.02);
}

TEST(Sampler, TemperatureSharpens) {
  // 0.5 squares the weights: 1, 16, 4, 9 of 30.
  EXPECT_NEAR(frequencies({.temperature = 0.5, .top_k = 0}, kLogits).at(1), 16.0 / 30, 0.02);
  const auto greedy = frequencies({.temperature = 0}, kLogits);
  ASSERT_EQ(greedy.size(), 1u);
  EXPECT_TRUE(greedy.count(1));
}

TEST(Sampler, TopKAndTopPKeepTheLikeliest) {
  auto found = frequencies({.temperature = 1, .top_k = 2}, kLogits);
  EXPECT_EQ(found.size(), 2u);
  EXPECT_NEAR(found.at(1), 4.0 / 7, 0.02);
  EXPECT_NEAR(found.at(3), 3.0 / 7, 0.02);
  found = frequencies({.temperature = 1, .top_k = 0, .top_p = 0.75}, kLogits);  // 0.4 + 0.3 < 0.75 ≤ + 0.2
  EXPECT_EQ(found.size(), 3u);
  EXPECT_EQ(found.count(0), 0u);
  EXPECT_EQ(frequencies({.temperature = 1, .top_k = 0, .top_p = 0.01}, kLogits).size(), 1u);
  EXPECT_EQ(frequencies({.temperature = 1, .top_k = 1000}, kLogits).size(), 4u);
}

TEST(Sampler, MinPKeepsWhatIsLikelyBesideTheLikeliest) {
  const auto found =
      frequencies({.temperature = 1, .top_k = 0, .min_p = 0.6}, kLogits);  // of 0.4: 0.3 is kept, 0.2 is not
  EXPECT_EQ(found.size(), 2u);
  EXPECT_NEAR(found.at(3), 3.0 / 7, 0.02);
  EXPECT_EQ(frequencies({.temperature = 1, .top_k = 0, .min_p = 1}, kLogits).size(), 1u);
}

TEST(Sampler, ThePenaltyMakesWhatWasThereLessLikely) {
  Sampler sampler({.temperature = 0, .repetition_penalty = 2});
  const std::vector<float> logits{1, 4, 3, -1};
  EXPECT_EQ(sampler.draw(logits), 1);
  sampler.see(1);
  sampler.see(1);
  EXPECT_EQ(sampler.draw(logits), 2) << "4 / 2 < 3, once";
  sampler.see(2);
  EXPECT_EQ(sampler.draw(logits), 1) << "3 / 2 < 4 / 2";
  Sampler negative({.temperature = 0, .repetition_penalty = 3});
  negative.see(0);
  EXPECT_EQ(negative.draw(std::vector<float>{-1, -2}), 1) << "-1 · 3 < -2";
}

TEST(Sampler, TheSeedDecides) {
  Sampler a({.temperature = 1, .seed = 5}), b({.temperature = 1, .seed = 5}), c({.temperature = 1, .seed = 6});
  std::vector<TokenId> from_a, from_b, from_c;
  for (int i = 0; i < 50; ++i) {
    from_a.push_back(a.draw(kLogits));
    from_b.push_back(b.draw(kLogits));
    from_c.push_back(c.draw(kLogits));
  }
  EXPECT_EQ(from_a, from_b);
  EXPECT_NE(from_a, from_c);
}

TEST(Sampler, RefusesOptionsAndLogitsThatAreNone) {
  EXPECT_THROW(Sampler({.temperature = -1}), Error);
  EXPECT_THROW(Sampler({.temperature = NAN}), Error);
  EXPECT_THROW(Sampler({.top_k = -1}), Error);
  EXPECT_THROW(Sampler({.top_p = 0}), Error);
  EXPECT_THROW(Sampler({.top_p = 1.5}), Error);
  EXPECT_THROW(Sampler({.min_p = -0.1}), Error);
  EXPECT_THROW(Sampler({.min_p = NAN}), Error);
  EXPECT_THROW(Sampler({.repetition_penalty = 0}), Error);
}

TEST(Sampler, PassesOverWhatIsNoNumberAndRefusesWhereNothingIsOne) {
  for (const double temperature : {0.0, 1.0}) {
    SCOPED_TRACE(temperature);
    Sampler sampler({.temperature = temperature});
    EXPECT_THROW(sampler.draw(std::vector<float>{NAN, NAN}), Error);
    EXPECT_EQ(sampler.draw(std::vector<float>{NAN, 1}), 1);
    EXPECT_EQ(sampler.draw(std::vector<float>{-100, 1, NAN}), 1);
  }
}

class GenerateTest : public testing::Test {
 protected:
  static Config config() {
    Config config;
    config.vocab_size = 32;
    config.hidden_size = 16;
    config.intermediate_size = 32;
    config.num_hidden_layers = 2;
    config.num_attention_heads = 2;
    config.num_key_value_heads = 1;
    config.head_dim = 8;
    config.max_position_embeddings = 24;
    return config;
  }
  GenerateTest()
      : context_(1), parameters_(config(), {}, plan_), decoder_(context_, parameters_, {.length_max = 24}, plan_) {
    plan_.allocate(1 << 24, "");
    parameters_.initialize(1);
  }
  std::vector<TokenId> run(const std::vector<TokenId>& prompt, const GenerateOptions& options, GenerateEnd expected) {
    std::vector<TokenId> tokens;
    const GenerateEnd end = generate(decoder_, prompt, 32, options, [&](TokenId token) {
      tokens.push_back(token);
      return true;
    });
    EXPECT_EQ(end, expected);
    return tokens;
  }

  tensor::Context context_;
  tensor::MemoryPlan plan_;
  Parameters parameters_;
  CachedDecoder decoder_;
};

TEST_F(GenerateTest, EndsWhereItShould) {
  const auto tokens = run({1, 2, 3}, {.tokens = 5, .seed = 2}, GenerateEnd::kTokens);
  EXPECT_EQ(tokens.size(), 5u);
  EXPECT_EQ(run({1, 2, 3}, {.tokens = 5, .seed = 2}, GenerateEnd::kTokens), tokens) << "the decoder starts anew";
  EXPECT_EQ(run({1, 2, 3}, {.tokens = 5, .seed = 2, .end_of_text = tokens[0]}, GenerateEnd::kEndOfText).size(), 0u);
  EXPECT_EQ(run({1, 2, 3}, {.tokens = 100}, GenerateEnd::kContextFull).size(), 24u - 3 + 1);
  EXPECT_EQ(run({1}, {.tokens = 0}, GenerateEnd::kTokens).size(), 0u);
  EXPECT_EQ(generate(decoder_, std::vector<TokenId>{1}, 32, {}, [](TokenId) { return false; }), GenerateEnd::kStopped);
}

TEST_F(GenerateTest, AnyOfTheEndsEndsIt) {
  const auto tokens = run({1, 2, 3}, {.tokens = 5, .seed = 2}, GenerateEnd::kTokens);
  const GenerateOptions options{.tokens = 5, .seed = 2, .end_of_text = 31, .other_ends = {30, tokens[2]}};
  EXPECT_LE(run({1, 2, 3}, options, GenerateEnd::kEndOfText).size(), 2u);
}

TEST_F(GenerateTest, TextsWrittenTogetherAreThoseWrittenAlone) {
  const std::vector<std::vector<TokenId>> prompts{{1, 2, 3}, {4}, {5, 6, 7, 8, 9, 10}, {1, 2, 3}, {11, 12}};
  const GenerateOptions options{.tokens = 10, .repetition_penalty = 1.2, .seed = 7, .end_of_text = 3};
  std::vector<std::vector<TokenId>> alone;
  std::vector<GenerateEnd> alone_ends;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    GenerateOptions own = options;
    own.seed += i;
    alone.emplace_back();
    alone_ends.push_back(
        generate(decoder_, prompts[i], 32, own, [&](TokenId token) { return alone.back().push_back(token), true; }));
  }
  for (const std::int64_t at_once : {1, 2, 3, 5, 8}) {
    tensor::MemoryPlan plan;
    CachedDecoder decoder(context_, parameters_, {.length_max = 24, .chunk_max = 4, .sequences = at_once}, plan);
    plan.allocate(1 << 24, "");
    std::vector<std::vector<TokenId>> together(prompts.size());
    std::map<std::size_t, GenerateEnd> ends;
    generate(
        decoder, prompts, 32, options, [&](std::size_t i, TokenId token) { return together[i].push_back(token), true; },
        [&](std::size_t i, GenerateEnd end) { EXPECT_TRUE(ends.emplace(i, end).second); });
    EXPECT_EQ(together, alone) << at_once;
    ASSERT_EQ(ends.size(), prompts.size());
    for (const auto& [i, end] : ends) EXPECT_EQ(end, alone_ends[i]);
  }
}

TEST_F(GenerateTest, RefusesPromptsThatDoNotFit) {
  const auto any = [](TokenId) { return true; };
  EXPECT_THROW(generate(decoder_, {}, 32, {}, any), Error);
  EXPECT_THROW(generate(decoder_, std::vector<TokenId>{32}, 32, {}, any), Error);
  EXPECT_THROW(generate(decoder_, std::vector<TokenId>{-1}, 32, {}, any), Error);
  EXPECT_THROW(generate(decoder_, std::vector<TokenId>(24, 1), 32, {}, any), Error);
}

}  // namespace
}  // namespace athanor::model
