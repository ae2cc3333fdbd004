#include "engine/cli/step_estimate.h"

#include <gtest/gtest.h>

#include "engine/model/adapters.h"
#include "engine/model/parameters.h"

namespace athanor::llm {
namespace {

// By hand: a layer has 16·4·(4 + 2·2 + 4) + 3·16·24 = 1920 weights, the head 16·50 = 800.
const model::Config kConfig{.vocab_size = 50,
                            .hidden_size = 16,
                            .intermediate_size = 24,
                            .num_hidden_layers = 2,
                            .num_attention_heads = 4,
                            .num_key_value_heads = 2,
                            .head_dim = 4,
                            .max_position_embeddings = 64};
constexpr double kWeights = 2 * 1920 + 800;
constexpr double kAttention = 2 * 12 * 4 * 16;  // 2 layers, 8 tokens seen as 4, 16 wide
// Products and attention take all the time.
constexpr SustainedRates kRates{.products = 1e3, .attention = 1e3, .bytes = 1e18};

train::TrainOptions options_with(std::int64_t lora_rank = 0) {
  train::TrainOptions options;
  options.batch = 6;
  options.length = 8;
  options.lora_rank = lora_rank;
  return options;
}

StepEstimate estimate(const train::TrainOptions& options, const model::DecoderSizes& sizes = {}, std::int64_t rows = 1,
                      int ranks = 1, const SustainedRates& rates = kRates) {
  const model::LoraOptions lora{.rank = 2};
  const model::Layout trained = options.lora_rank > 0 ? model::Layout(model::AdapterLayout(kConfig, lora))
                                                      : model::Layout(model::ParameterLayout(kConfig));
  return estimate_step(kConfig, options, trained, sizes, rows, ranks, rates);
}

// Bytes take all the time.
double seconds_of_bytes(const train::TrainOptions& options, std::int64_t rows = 1, int ranks = 1) {
  return estimate(options, {}, rows, ranks, {.products = 1e18, .attention = 1e18, .bytes = 1e3}).seconds;
}

TEST(StepEstimate, IsSixOperationsAWeightAndToken) {
  const StepEstimate whole = estimate(options_with());
  EXPECT_DOUBLE_EQ(whole.flops, 48 * (6 * kWeights + kAttention));
  EXPECT_NEAR(whole.seconds, 48 * (6 * kWeights + 2 * kAttention) / 1e3, 1e-6);  // attention at half the rate
  const StepEstimate halved = estimate(options_with(), {}, 1, 2);
  EXPECT_DOUBLE_EQ(halved.flops, whole.flops);
  EXPECT_NEAR(halved.seconds, whole.seconds / 2, 1e-6);
}

// By hand, elements that a token's operators read and write in a layer. Each of two norms: forward x, what is added to it, their
// sum and y; x and y once more; backward four. SwiGLU: gate, up and y, forward and once more; backward these and the gradients
// of two. RoPE turns 4 + 2 heads of 4 in place, forward and back.
constexpr double kElements = 2 * (4 * 16 + 2 * 16 + 4 * 16) + (2 * 3 + 5) * 24 + 2 * 2 * 24;
constexpr double kParameters = kWeights + 2 * 2 * 16 + 16;  // the head is the embedding; norms are trained too

TEST(StepEstimate, OperatorsReachHalfOfTheMemorysRateAndTheUpdateAllOfIt) {
  // AdamW: reads and writes the parameter and both moments, reads the gradient, which its norm has read before.
  const double update = kParameters * (2 * 3 + 1 + 1) * 4;
  const double elements = 48 * 2 * kElements;
  EXPECT_NEAR(seconds_of_bytes(options_with()), (2 * elements * 4 + update) / 1e3, 1e-6);
  // Ranks share the tokens, and each updates all; answers come in twos.
  EXPECT_NEAR(seconds_of_bytes(options_with(), 1, 3), (2 * elements * 4 / 3 + update) / 1e3, 1e-6);
  EXPECT_NEAR(seconds_of_bytes(options_with(), 2), (2 * 2 * elements * 4 + update) / 1e3, 1e-6);
}

TEST(StepEstimate, NarrowTypesMoveFewerBytes) {
  train::TrainOptions options = options_with();
  options.dtype = "bfloat16";
  // Values and their remainders of 2 bytes and moments of 4, all read and written; gradients of 2, read twice.
  const double update = kParameters * (2 * (2 + 2 + 4 + 4) + 2 * 2);
  EXPECT_NEAR(seconds_of_bytes(options), (2 * 48 * 2 * kElements * 2 + update) / 1e3, 1e-6);
}

TEST(StepEstimate, UpdatesMoveTheMomentsOfTheirOptimizer) {
  train::TrainOptions options = options_with();
  const double elements = 2 * 48 * 2 * kElements * 4, values = kParameters * 2 * 4, gradients = kParameters * 2 * 4;
  options.optimizer = "adamw8";  // of a byte each, and a scale for 256 of them
  EXPECT_NEAR(seconds_of_bytes(options), (elements + values + gradients + kParameters * 2 * 2 * (1 + 4. / 256)) / 1e3,
              1e-6);
  options.optimizer = "muon";  // one of the layers' matrices, two of the rest
  const double moments = kParameters * 2 * 2 * 4 - 2 * 1920 * 2 * 4;
  EXPECT_NEAR(seconds_of_bytes(options), (elements + values + gradients + moments) / 1e3, 1e-6);
}

TEST(StepEstimate, OnlyWhatIsTrainedIsUpdated) {
  const double adapters = 2 * 2 * (32 + 24 + 24 + 32 + 40 + 40 + 40);
  EXPECT_NEAR(seconds_of_bytes(options_with(2)), (2 * 48 * 2 * kElements * 4 + adapters * 32) / 1e3, 1e-6);
}

TEST(StepEstimate, EveryPartAddsToTheTime) {
  const SustainedRates rates{.products = 7e3, .attention = 3e3, .bytes = 2e4};
  const double bytes = 2 * 48 * 2 * kElements * 4 + kParameters * 32;
  EXPECT_NEAR(estimate(options_with(), {}, 1, 1, rates).seconds,
              48 * (6 * kWeights / 7e3 + 2 * kAttention / 3e3) + bytes / 2e4, 1e-6);
  train::TrainOptions muon = options_with();
  muon.optimizer = "muon";
  const StepEstimate adamw = estimate(options_with(), {}, 1, 2, rates), with_muon = estimate(muon, {}, 1, 2, rates);
  // Each rank makes all of Muon's products, and moves a moment less of the layers' matrices.
  EXPECT_NEAR(with_muon.seconds - adamw.seconds, (with_muon.flops - adamw.flops) / 2 / 7e3 - 2 * 1920 * 2 * 4 / 2e4,
              1e-6);
}

TEST(StepEstimate, FrozenWeightsHaveNoGradientButAttentionIsWhole) {
  // Rank 2 on all: (in + out) · 2 for q, k, v, o, gate, up, down.
  const double adapters = 2 * 2 * (32 + 24 + 24 + 32 + 40 + 40 + 40);
  EXPECT_DOUBLE_EQ(estimate(options_with(2)).flops, 48 * (4 * kWeights + 6 * adapters + kAttention));
}

TEST(StepEstimate, CountsWhatIsComputedAgain) {
  const double once = estimate(options_with()).flops;
  const double gate_up = 48.0 * 4 * 16 * 24, layer = 48.0 * (2 * 1920 + kAttention / 2 / 3);
  EXPECT_DOUBLE_EQ(estimate(options_with(), {.recompute = model::Recompute::kGateUp}).flops, once + 2 * gate_up);
  EXPECT_DOUBLE_EQ(estimate(options_with(), {.recompute = model::Recompute::kLayer, .recompute_layers = 1}).flops,
                   once + layer + gate_up);
}

TEST(StepEstimate, PreferencesHaveTwoRowsAndTheHeadTwice) {
  EXPECT_DOUBLE_EQ(estimate(options_with(), {}, 2).flops, 2 * 48 * (6 * kWeights + 2 * 800 + kAttention));
}

TEST(StepEstimate, MuonsProductsComeOnTop) {
  train::TrainOptions options = options_with();
  const double adamw = estimate(options).flops;
  options.optimizer = "muon";
  const auto of = [](double n, double m) { return 5 * (4 * n * n * m + 2 * n * n * n); };
  const double layer = 2 * of(16, 16) + 2 * of(8, 16) + 3 * of(16, 24);
  EXPECT_DOUBLE_EQ(estimate(options).flops, adamw + 2 * layer);
}

}  // namespace
}  // namespace athanor::llm
