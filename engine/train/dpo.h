// Direct preference optimisation (Rafailov et al. 2023): a model learns to prefer the chosen answer y_w over the rejected
// y_l of a prompt x, measured against a reference, usually itself before.
//
//   Δ    = (log π(y_w|x) − log π(y_l|x)) − (log ref(y_w|x) − log ref(y_l|x))
//   loss = −log σ(β Δ)
//
// with, as in conservative DPO, a part ε of the labels taken to be wrong:
//
//   loss = −(1 − ε) log σ(β Δ) − ε log σ(−β Δ)
//   d loss / d log π(y_w|x) = −β ((1 − ε) σ(−β Δ) − ε σ(β Δ)) = −d loss / d log π(y_l|x)
//
// log π(y|x) is the sum of the log-probabilities of an answer's tokens (those that are targets). The sequences of a batch are
// pairs: 2i is the chosen answer of pair i, 2i + 1 the rejected one. The gradient of either depends on the sums of both, so a
// step is: log π(y|x) of each sequence of the batch; weights_of() below, with the pairs' references; the gradient of
// sum over b of weights[b] · log π(y_b|x_b) with respect to the model's parameters.
//
// Nothing here keeps state: any thread may call.
#pragma once

#include <span>

namespace athanor::train {

struct DpoOptions {
  double beta = 0.1;             // how dear it is to move away from the reference
  double label_smoothing = 0.0;  // ε in [0, 0.5)
};

// Throws kInvalid, naming the option.
void check(const DpoOptions& options);

// Sums of log-probabilities of an answer's tokens, in nats.
struct AnswerLogProbabilities {
  double chosen = 0;
  double rejected = 0;
};

struct DpoLoss {
  double loss = 0;
  double d_chosen = 0;  // d loss / d log π(y_w|x)
  double d_rejected = 0;
  double chosen_reward = 0;  // β (log π − log ref): what the model pays for an answer more than the reference
  double rejected_reward = 0;
};

DpoLoss dpo_loss(const AnswerLogProbabilities& policy, const AnswerLogProbabilities& reference,
                 const DpoOptions& options);

// Of pairs, summed. The difference of the rewards is called margin, preferred / pairs accuracy.
struct PreferenceSums {
  double chosen_reward = 0;
  double rejected_reward = 0;
  double preferred = 0;  // pairs of which the chosen answer has the larger reward; equal rewards count half

  PreferenceSums& operator+=(const PreferenceSums& other) {
    chosen_reward += other.chosen_reward;
    rejected_reward += other.rejected_reward;
    preferred += other.preferred;
    return *this;
  }
};

struct DpoSums {
  double loss = 0;
  PreferenceSums preferences;
};

// log_probabilities, weights (2 · pairs): chosen and rejected of each pair, side by side. weights become the gradient of
// scale · (sum of losses).
DpoSums weights_of(std::span<const double> log_probabilities, std::span<const AnswerLogProbabilities> references,
                   double scale, const DpoOptions& options, std::span<float> weights);

}  // namespace athanor::train
