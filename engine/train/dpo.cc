#include "engine/train/dpo.h"

#include <cmath>

#include "common/error.h"

namespace athanor::train {

namespace {

double sigmoid(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }
// Without overflow, and exact where σ(x) is near 1.
double log_sigmoid(double x) { return x >= 0 ? -std::log1p(std::exp(-x)) : x - std::log1p(std::exp(x)); }

}  // namespace

void check(const DpoOptions& o) {
  const auto require = [](bool holds, const char* name, double value, const char* rule) {
    if (!holds) throw Error(ErrorKind::kInvalid, "DPO's option {} is {}; it must be {}", name, value, rule);
  };
  require(o.beta > 0 && std::isfinite(o.beta), "beta", o.beta, "positive");
  require(o.label_smoothing >= 0 && o.label_smoothing < 0.5, "label_smoothing", o.label_smoothing,
          "at least 0 and less than 0.5");
}

DpoLoss dpo_loss(const AnswerLogProbabilities& policy, const AnswerLogProbabilities& reference, const DpoOptions& o) {
  const double chosen = o.beta * (policy.chosen - reference.chosen),
               rejected = o.beta * (policy.rejected - reference.rejected);
  const double z = chosen - rejected, epsilon = o.label_smoothing;
  const double slope = -o.beta * ((1 - epsilon) * sigmoid(-z) - epsilon * sigmoid(z));
  // A product of 0 and infinity has no value: without smoothing the second term is left out.
  const double smoothing = epsilon > 0 ? epsilon * log_sigmoid(-z) : 0;
  return {.loss = -(1 - epsilon) * log_sigmoid(z) - smoothing,
          .d_chosen = slope,
          .d_rejected = -slope,
          .chosen_reward = chosen,
          .rejected_reward = rejected};
}

DpoSums weights_of(std::span<const double> log_probabilities, std::span<const AnswerLogProbabilities> references,
                   double scale, const DpoOptions& options, std::span<float> weights) {
  ATHANOR_ASSERT(log_probabilities.size() == 2 * references.size() && weights.size() == log_probabilities.size());
  DpoSums sums;
  for (std::size_t i = 0; i < references.size(); ++i) {
    const DpoLoss pair = dpo_loss({log_probabilities[2 * i], log_probabilities[2 * i + 1]}, references[i], options);
    sums.loss += pair.loss;
    const double preferred =
        pair.chosen_reward == pair.rejected_reward ? 0.5 : pair.chosen_reward > pair.rejected_reward;
    sums.preferences += {pair.chosen_reward, pair.rejected_reward, preferred};
    weights[2 * i] = static_cast<float>(scale * pair.d_chosen);
    weights[2 * i + 1] = static_cast<float>(scale * pair.d_rejected);
  }
  return sums;
}

}  // namespace athanor::train
