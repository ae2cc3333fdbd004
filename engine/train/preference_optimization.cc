#include "engine/train/preference_optimization.h"

#include <algorithm>
#include <numeric>

#include "common/error.h"

namespace athanor::train {

namespace {

std::vector<std::int64_t> numbers_from(std::int64_t first, std::int64_t count) {
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(count));
  std::iota(numbers.begin(), numbers.end(), first);
  return numbers;
}

Cost cost_of(const DpoSums& sums, std::size_t pairs, std::int64_t tokens) {
  return {.loss = sums.loss,
          .terms = static_cast<std::int64_t>(pairs),
          .tokens = tokens,
          .preferences = sums.preferences};
}

// Of rows: one of few lengths, as a product's preparation is kept for each shape that it has met.
std::int64_t rounded_length(std::int64_t longest, std::int64_t length_max) {
  const std::int64_t unit = std::max<std::int64_t>(16, length_max / 16);
  return std::min(length_max, (longest + unit - 1) / unit * unit);
}

// −losses, as exact as the references are kept: a model that is the reference is found to be just as good.
void log_probabilities_of(std::span<const double> losses, std::span<double> into) {
  std::ranges::transform(losses, into.begin(),
                         [](double loss) { return static_cast<double>(static_cast<float>(-loss)); });
}

std::vector<AnswerLogProbabilities> references_of(const References& all, std::span<const std::int64_t> pairs) {
  std::vector<AnswerLogProbabilities> some;
  for (const std::int64_t pair : pairs) some.push_back(all.of(pair));
  return some;
}

}  // namespace

PreferenceOptimization::PreferenceOptimization(const data::PreferenceSequences& training,
                                               const data::PreferenceSequences* held_out, const TrainOptions& options,
                                               const DpoOptions& dpo)
    : training_(training),
      held_out_(held_out),
      length_(options.length),
      held_out_count_(held_out ? std::min(held_out->pairs(), options.evaluate_sequences) : 0),
      dpo_((check(dpo), dpo)),
      description_(fmt::format("dpo on {} pairs ({:.12}), evaluated on {} (evaluate_sequences, or all; {:.12})",
                               training.pairs(), training.fingerprint(), held_out_count_,
                               held_out ? held_out->fingerprint() : "none")) {
  if (options.z_loss != 0) {
    throw Error(ErrorKind::kInvalid, "Training option z_loss is {}; preferences are learnt without it: leave it out",
                options.z_loss);
  }
}

void PreferenceOptimization::plan(const model::Config& config, std::int64_t examples, tensor::MemoryPlan& plan) {
  batch_.emplace(config.vocab_size, rows() * examples, length_, plan);
  references_.emplace(training_.pairs(), "training", plan);
  if (held_out_count_ > 0) held_out_references_.emplace(held_out_count_, "held_out", plan);
}

void PreferenceOptimization::add_state(TrainTensors& tensors) const {
  tensors.objective = description_;
  references_->add_to(tensors);
  if (held_out_references_) held_out_references_->add_to(tensors);
}

std::int64_t PreferenceOptimization::fill(const data::PreferenceSequences& from, std::span<const std::int64_t> pairs) {
  std::int64_t longest = 1;
  for (const std::int64_t pair : pairs) longest = std::max(longest, from.length(pair));
  const std::int64_t length = rounded_length(longest, length_);
  batch_->begin(2 * static_cast<std::int64_t>(pairs.size()), length);
  std::int64_t row = 0;
  for (const std::int64_t pair : pairs) {
    from.read(pair, batch_->row(row), batch_->row(row + 1));
    for (const std::int64_t answer : {row, row + 1}) {
      if (batch_->check(answer) == 0) {
        throw Error(ErrorKind::kCorrupt, "Pair {} of the preferences has an answer without tokens", pair);
      }
    }
    row += 2;
  }
  return row * length;
}

// Attention needs no starts of documents: a row has one, and what is behind its end has no targets.
void PreferenceOptimization::judge(model::Decoder& decoder, std::span<double> log_probabilities) const {
  decoder.losses(batch_->tokens(), batch_->targets(), log_probabilities);
  log_probabilities_of(log_probabilities, log_probabilities);
}

References::Judge PreferenceOptimization::judge_of(const data::PreferenceSequences& from, model::Decoder& decoder,
                                                   const Judged& judged) {
  return [&, this](std::int64_t first, std::span<AnswerLogProbabilities> into) {
    fill(from, numbers_from(first, static_cast<std::int64_t>(into.size())));
    std::vector<double> log_probabilities(2 * into.size());
    judge(decoder, log_probabilities);
    for (std::size_t i = 0; i < into.size(); ++i) into[i] = {log_probabilities[2 * i], log_probabilities[2 * i + 1]};
    judged(into.size());
  };
}

bool PreferenceOptimization::prepare(model::Decoder& decoder, std::int64_t examples, parallel::Collectives& collectives,
                                     const std::atomic<bool>& stop, const Prepared& prepared) {
  const std::int64_t of =
      References::share(training_.pairs(), collectives) + References::share(held_out_count_, collectives);
  std::int64_t done = 0;
  const Judged judged = [&](std::size_t pairs) {
    done += static_cast<std::int64_t>(pairs);
    prepared(done, of);
  };
  if (!references_->compute(examples, collectives, stop, judge_of(training_, decoder, judged))) return false;
  return !held_out_references_ ||
         held_out_references_->compute(examples, collectives, stop, judge_of(*held_out_, decoder, judged));
}

Cost PreferenceOptimization::forward_backward(model::Decoder& decoder, const MicroBatch& which, float scale,
                                              const model::DropoutMasks& masks) {
  std::vector<std::int64_t> pairs;
  for (std::int64_t i = 0; i < which.count; ++i) pairs.push_back(training_.training(which.step, which.first + i));
  const std::int64_t tokens = fill(training_, pairs);
  const std::vector<AnswerLogProbabilities> references = references_of(*references_, pairs);
  DpoSums sums;
  // A sequence's loss is −log π, so its weight is less what log π's is.
  const auto weigh = [&](std::span<const double> losses, std::span<float> weights) {
    std::vector<double> log_probabilities(losses.size());
    log_probabilities_of(losses, log_probabilities);
    sums = weights_of(log_probabilities, references, -static_cast<double>(scale), dpo_, weights);
  };
  decoder.forward_backward(batch_->tokens(), batch_->targets(), weigh, {}, masks);
  return cost_of(sums, pairs.size(), tokens);
}

Cost PreferenceOptimization::evaluate(model::Decoder& decoder, std::int64_t first, std::int64_t count) {
  const std::vector<std::int64_t> pairs = numbers_from(first, count);
  const std::int64_t tokens = fill(*held_out_, pairs);
  std::vector<double> log_probabilities(2 * pairs.size());
  judge(decoder, log_probabilities);
  std::vector<float> weights(log_probabilities.size());
  return cost_of(weights_of(log_probabilities, references_of(*held_out_references_, pairs), 0, dpo_, weights),
                 pairs.size(), tokens);
}

}  // namespace athanor::train
