#include "engine/train/dpo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "common/error.h"

namespace athanor::train {
namespace {

// The paper's equation 7, as it stands.
double formula(double chosen, double rejected, const AnswerLogProbabilities& reference, const DpoOptions& o) {
  const double z = o.beta * (chosen - reference.chosen) - o.beta * (rejected - reference.rejected);
  const auto minus_log_sigmoid = [](double x) { return -std::log(1 / (1 + std::exp(-x))); };
  return (1 - o.label_smoothing) * minus_log_sigmoid(z) + o.label_smoothing * minus_log_sigmoid(-z);
}

TEST(Dpo, LossAndGradientAreThoseOfTheFormula) {
  const AnswerLogProbabilities reference{-12, -15};
  for (const double beta : {0.05, 0.1, 1.0}) {
    for (const double label_smoothing : {0.0, 0.1}) {
      for (const double chosen : {-30.0, -14.0, -12.0, -3.0}) {
        for (const double rejected : {-33.0, -15.0, -9.0}) {
          const DpoOptions options{beta, label_smoothing};
          const DpoLoss loss = dpo_loss({chosen, rejected}, reference, options);
          EXPECT_NEAR(loss.loss, formula(chosen, rejected, reference, options), 1e-12);
          constexpr double kStep = 1e-5;
          const double d_chosen = (formula(chosen + kStep, rejected, reference, options) -
                                   formula(chosen - kStep, rejected, reference, options)) /
                                  (2 * kStep);
          const double d_rejected = (formula(chosen, rejected + kStep, reference, options) -
                                     formula(chosen, rejected - kStep, reference, options)) /
                                    (2 * kStep);
          EXPECT_NEAR(loss.d_chosen, d_chosen, 1e-8);
          EXPECT_NEAR(loss.d_rejected, d_rejected, 1e-8);
          EXPECT_NEAR(loss.chosen_reward, beta * (chosen + 12), 1e-12);
          EXPECT_NEAR(loss.rejected_reward, beta * (rejected + 15), 1e-12);
        }
      }
    }
  }
}

TEST(Dpo, BeginsAtTheLogarithmOfTwo) {
  const DpoLoss loss = dpo_loss({-7, -9}, {-7, -9}, {.beta = 0.5});
  EXPECT_DOUBLE_EQ(loss.loss, std::log(2));
  EXPECT_DOUBLE_EQ(loss.d_chosen, -0.25);  // −β / 2
  EXPECT_DOUBLE_EQ(loss.d_rejected, 0.25);
}

TEST(Dpo, StaysFiniteFarFromTheReference) {
  const DpoLoss won = dpo_loss({0, -1e6}, {0, 0}, {.beta = 1});
  EXPECT_EQ(won.loss, 0);
  EXPECT_EQ(won.d_chosen, 0);
  const DpoLoss lost = dpo_loss({-1e6, 0}, {0, 0}, {.beta = 1});
  EXPECT_EQ(lost.loss, 1e6);
  EXPECT_EQ(lost.d_chosen, -1);
  EXPECT_EQ(lost.d_rejected, 1);
}

TEST(Dpo, WeighsTheRowsOfABatch) {
  const std::vector<AnswerLogProbabilities> references = {{-5, -5}, {-8, -6}};
  const std::vector<double> log_probabilities = {-4, -6, -9, -4};
  std::vector<float> weights(4);
  const DpoOptions options{.beta = 0.2, .label_smoothing = 0.05};
  const DpoSums sums = weights_of(log_probabilities, references, 0.5, options, weights);
  const DpoLoss first = dpo_loss({-4, -6}, references[0], options), second = dpo_loss({-9, -4}, references[1], options);
  EXPECT_DOUBLE_EQ(sums.loss, first.loss + second.loss);
  EXPECT_DOUBLE_EQ(sums.preferences.chosen_reward, 0.2 * 1 - 0.2 * 1);
  EXPECT_DOUBLE_EQ(sums.preferences.rejected_reward, -0.2 * 1 + 0.2 * 2);
  EXPECT_EQ(sums.preferences.preferred, 1);
  EXPECT_THAT(weights, testing::ElementsAre(testing::FloatEq(static_cast<float>(0.5 * first.d_chosen)),
                                            testing::FloatEq(static_cast<float>(0.5 * first.d_rejected)),
                                            testing::FloatEq(static_cast<float>(0.5 * second.d_chosen)),
                                            testing::FloatEq(static_cast<float>(0.5 * second.d_rejected))));
}

TEST(Dpo, WhoIsEquallyGoodIsHalfPreferred) {
  std::vector<float> weights(4);
  const std::vector<AnswerLogProbabilities> references = {{-5, -6}, {-3, -9}};
  EXPECT_EQ(weights_of(std::vector<double>{-5, -6, -4, -5}, references, 1, {}, weights).preferences.preferred, 0.5);
}

TEST(Dpo, RefusesBadOptionsByName) {
  for (const auto& [options, name] :
       std::vector<std::pair<DpoOptions, const char*>>{{{.beta = 0}, "beta"},
                                                       {{.beta = INFINITY}, "beta"},
                                                       {{.label_smoothing = 0.5}, "label_smoothing"}}) {
    try {
      check(options);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(name));
    }
  }
  EXPECT_NO_THROW(check(DpoOptions{}));
}

}  // namespace
}  // namespace athanor::train
