#include "engine/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/error.h"
#include "engine/parallel/data_parallel.h"
#include "engine/tensor/adamw.h"
#include "engine/tensor/available_memory.h"
#include "engine/tensor/copy.h"

namespace athanor::train {

using tensor::DType;
using tensor::Tensor;

namespace {

// Examples that a rank computes at once.
std::int64_t at_once(const TrainOptions& options) { return std::min(options.micro_batch, options.batch); }

// Whether the gradients of a step are a sum over micro-batches.
bool sums_gradients(const TrainOptions& options, int ranks) {
  return (options.batch + ranks - 1) / ranks > at_once(options);
}

TrainedModel plan_model(const model::Config& config, const TrainOptions& options, int ranks, tensor::MemoryPlan& plan) {
  const bool sums = sums_gradients(options, ranks);
  return {config, options, sums ? DType::kFloat32 : dtype_of(options.dtype), !sums, plan};
}

// What the checkpoints of adapters must agree in, beside their shapes.
std::string describe_lora(const TrainOptions& options) {
  if (options.lora_rank == 0) return "none";
  return fmt::format("rank {}, alpha {}, {} on {}", options.lora_rank, options.lora_alpha, options.lora_layers,
                     name_of(base_type_of(options)));
}

TrainTensors tensors_of(const TrainOptions& options, const model::FlatParameters& parameters,
                        const Optimizer& optimizer) {
  TrainTensors all{.dtype = options.dtype, .optimizer = options.optimizer, .adapters = describe_lora(options)};
  const tensor::Masters masters = parameters.masters();
  all.add(parameters.layout(), "", masters.values);
  if (parameters.type() == DType::kBFloat16) all.add(parameters.layout(), "remainder.", masters.remainders);
  optimizer.add_state(all);
  return all;
}

bool writes_checkpoints(const TrainOptions& options, const parallel::Collectives& collectives) {
  return collectives.rank() == 0 && !options.checkpoint_folder.empty();
}

std::uint64_t memory_limit(const TrainOptions& options) {
  return options.memory_limit_bytes ? options.memory_limit_bytes : tensor::available_memory_bytes();
}

// The ladder of recomputation for a model of L layers: rung 0 is little, L gate and up in all of them, 2L whole layers.
void climb(std::int64_t rung, std::int64_t layers, model::DecoderSizes& sizes) {
  sizes.recompute = rung == 0        ? model::Recompute::kLittle
                    : rung <= layers ? model::Recompute::kGateUp
                                     : model::Recompute::kLayer;
  sizes.recompute_layers = rung <= layers ? rung : rung - layers;
}

// Of the copy of the state (TrainOptions::checkpoint_room), or null.
const Tensor* plan_room(const TrainOptions& options, const parallel::Collectives& collectives,
                        const TrainTensors& tensors, tensor::MemoryPlan& plan) {
  const bool copies = options.checkpoint_room && options.checkpoint_every > 0;
  if (!copies || !writes_checkpoints(options, collectives)) return nullptr;
  return &plan.add("checkpoint", "room", DType::kUInt8, {static_cast<std::int64_t>(tensors.bytes())});
}

// With the least recomputation that fits into `limit` bytes, if any does.
model::DecoderSizes fitting_sizes(const model::Config& config, const TrainOptions& options, tensor::Context& context,
                                  const parallel::Collectives& collectives, Objective& objective, std::uint64_t limit) {
  model::DecoderSizes sizes{.batch_max = at_once(options) * objective.rows(),
                            .length_max = options.length,
                            .backward = true};
  if (const auto told = recompute_of(options.recompute)) {
    sizes.recompute = *told;
    if (options.recompute_layers > 0) sizes.recompute_layers = options.recompute_layers;
    return sizes;
  }
  // As much as the fullest phase needs, or as all takes when it is placed: what the trainer will plan, without its memory.
  enum class Measure { kLeast, kPlaced };
  const auto bytes_of = [&](std::int64_t rung, Measure measure) {
    climb(rung, config.num_hidden_layers, sizes);
    tensor::MemoryPlan trial;
    TrainedModel tried = plan_model(config, options, collectives.size(), trial);
    const model::Decoder decoder(context, tried.weights(), sizes, trial);
    const auto optimizer = plan_optimizer(options, tried.trained(), trial);
    objective.plan(config, at_once(options), trial);
    TrainTensors state = tensors_of(options, tried.trained(), *optimizer);
    objective.add_state(state);
    plan_room(options, collectives, state, trial);
    return measure == Measure::kLeast ? trial.least_bytes() : trial.placed_bytes();
  };
  // Of what is free, threads and files take some beside the plan.
  if (options.memory_limit_bytes == 0) limit -= limit / 64;
  // Every rung needs less than the one before it; placed it may take a little more, so from there on all are looked at.
  const std::int64_t last = 2 * config.num_hidden_layers;
  const auto ladder = std::views::iota(std::int64_t{0}, last);
  const auto lacks = [&](std::int64_t rung) { return bytes_of(rung, Measure::kLeast) > limit; };
  std::int64_t rung = lacks(0) ? std::ranges::partition_point(ladder, lacks) - ladder.begin() : 0;
  while (rung < last && bytes_of(rung, Measure::kPlaced) > limit) ++rung;
  climb(rung, config.num_hidden_layers, sizes);
  return sizes;
}

// A float holds whole numbers to 2^24: a count crosses the ranks in two.
constexpr std::int64_t kCountUnit = 1 << 12;

}  // namespace

Trainer::Trainer(const model::Config& config, const TrainOptions& options, tensor::Context& context,
                 parallel::Collectives& collectives, Objective& objective, Files& files, const Clock& clock,
                 TrainText text)
    : config_(config),
      options_((check(options), options)),
      input_{.batch = options.batch, .length = options.length, .seed = options.seed, .text = std::move(text)},
      context_(context),
      collectives_(collectives),
      objective_(objective),
      files_(files),
      clock_(clock),
      memory_limit_bytes_(memory_limit(options)),
      model_(plan_model(config, options, collectives.size(), plan_)),
      decoder_(context, model_.weights(),
               fitting_sizes(config, options, context, collectives, objective, memory_limit_bytes_), plan_),
      optimizer_(plan_optimizer(options_, model_.trained(), plan_)) {
  objective_.plan(config, at_once(options), plan_);
  const bool writes = writes_checkpoints(options, collectives);
  const Tensor* room = plan_room(options, collectives, tensors(), plan_);
  plan_.allocate(
      memory_limit_bytes_,
      fmt::format("A smaller micro_batch ({} now) or length ({}) needs less for activations, a smaller model "
                  "less for parameters, gradients and optimizer{}{}",
                  at_once(options), options.length,
                  options.lora_rank == 0 ? "; lora_rank trains adapters only, and base_dtype q4_0 keeps the rest small"
                  : base_type_of(options) != model::BaseType::kQ4_0 ? "; base_dtype q4_0 keeps frozen weights smallest"
                                                                    : "",
                  room ? "; checkpoint_room false leaves out the checkpoint's" : ""));
  if (writes) {
    const std::span<char> bytes = room ? std::span(static_cast<char*>(room->data()), room->bytes()) : std::span<char>();
    writer_ = std::make_unique<CheckpointWriter>(files, options_.checkpoint_folder, config_, input_, tensors(),
                                                 options_.checkpoints_kept, bytes);
  }
}

model::Parameters& Trainer::parameters() {
  ATHANOR_ASSERT(model_.whole() != nullptr);
  return *model_.whole();
}

TrainTensors Trainer::tensors() {
  TrainTensors all = tensors_of(options_, model_.trained(), *optimizer_);
  objective_.add_state(all);
  return all;
}

void Trainer::initialize() {
  state_ = {};
  prepared_ = false;
  model_.initialize(context_, options_.seed);
  optimizer_->clear(context_);
}

void Trainer::load_model(model::ModelSource& source) {
  state_ = {};
  prepared_ = false;
  model_.load(context_, source, options_.seed);
  optimizer_->clear(context_);
}

bool Trainer::load() {
  // Rank 0 reads and the others are told: they may have no checkpoints, or others.
  enum : std::int64_t { kNone, kFound, kDamaged };
  struct {
    std::int64_t found = kNone;
    TrainState state;
  } news;
  static_assert(std::is_trivially_copyable_v<TrainState>);
  if (collectives_.rank() == 0 && !options_.checkpoint_folder.empty()) {
    const auto loaded = load_newest_checkpoint(files_, options_.checkpoint_folder, config_, input_, tensors());
    if (loaded) news = {kFound, *loaded};
    if (!loaded && !list_checkpoints(files_, options_.checkpoint_folder).empty()) news.found = kDamaged;
  }
  collectives_.broadcast(std::as_writable_bytes(std::span(&news, 1)), 0);
  // What was read of them is in the parameters, and to begin anew would write over them.
  if (news.found == kDamaged) {
    throw Error(ErrorKind::kCorrupt,
                "Of the checkpoints in {} none is whole. Bring one back; or move them away, and the run begins anew",
                options_.checkpoint_folder);
  }
  if (news.found == kNone) return false;
  for (const Tensor& buffer : tensors().buffers) parallel::broadcast(collectives_, buffer);
  state_ = news.state;
  prepared_ = true;
  saved_step_ = state_.step;
  return true;
}

bool Trainer::resume() { return load(); }

Trainer::Sums Trainer::summed(const Sums& mine, std::int64_t nominal) {
  if (collectives_.size() == 1) return mine;
  const auto scale = static_cast<double>(nominal);
  const Cost& c = mine.cost;
  const PreferenceSums& p = c.preferences;
  const double in[] = {c.loss / scale,      p.chosen_reward / scale, p.rejected_reward / scale,
                       p.preferred / scale, mine.stop ? 1.0 : 0.0,   mine.given_up ? 1.0 : 0.0};
  std::vector<float> all(std::begin(in), std::end(in));
  for (const std::int64_t count : {c.terms, c.tokens}) {
    all.push_back(static_cast<float>(count % kCountUnit));
    all.push_back(static_cast<float>(count / kCountUnit));
  }
  collectives_.all_reduce_sum(all);
  const auto sum = [&](std::size_t i) { return static_cast<double>(all[i]) * scale; };
  const auto count = [&](std::size_t i) {
    return static_cast<std::int64_t>(all[i + 1]) * kCountUnit + static_cast<std::int64_t>(all[i]);
  };
  return {.cost = {.loss = sum(0), .terms = count(6), .tokens = count(8), .preferences = {sum(1), sum(2), sum(3)}},
          .stop = all[4] > 0,
          .given_up = all[5] > 0};
}

std::optional<Preferences> Trainer::preferences_of(const Cost& all) const {
  if (objective_.rows() == 1) return {};
  const auto pairs = static_cast<double>(all.terms);
  const auto& [chosen_reward, rejected_reward, preferred] = all.preferences;
  return Preferences{.chosen_reward = chosen_reward / pairs,
                     .rejected_reward = rejected_reward / pairs,
                     .accuracy = preferred / pairs};
}

// One step: this rank's share of the examples in micro-batches, then everybody's gradients, then the update.
Trainer::StepResult Trainer::step(const std::atomic<bool>& stop) {
  const std::int64_t number = state_.step + 1, micro_batch = at_once(options_);
  const std::int64_t nominal = options_.batch * objective_.terms_max();
  const Tensor gradients = model_.trained().gradients();
  Sums mine;
  const auto [begin, end] = parallel::share_of(options_.batch, collectives_.rank(), collectives_.size());
  // Otherwise the backward pass makes them.
  if (begin == end || !model_.gradients_anew()) clear(context_, gradients);
  for (std::int64_t first = begin; first < end; first += micro_batch) {
    if (stop) {
      mine.given_up = true;
      break;
    }
    mine.cost +=
        objective_.forward_backward(decoder_,
                                    {.step = state_.data_step + 1,
                                     .first = first,
                                     .count = std::min(micro_batch, end - first)},
                                    1.0F / static_cast<float>(nominal),
                                    {.key = options_.seed * 0x9E3779B97F4A7C15ULL + static_cast<std::uint64_t>(number),
                                     .first_sequence = first * objective_.rows()});
  }
  // Before the gradients: whether there are any is for all to know.
  mine.stop = stop;
  const auto [all, stopping, given_up] = summed(mine, nominal);
  if (given_up) return {.stop = true, .given_up = true};
  parallel::all_reduce_buckets(collectives_, gradients);
  ATHANOR_ASSERT(all.terms > 0);
  // How many targets the step has in all is known only now: gradients were weighted as if every token had one.
  const double to_mean = static_cast<double>(nominal) / static_cast<double>(all.terms);
  StepResult result{.loss = all.loss / static_cast<double>(all.terms),
                    .preferences = preferences_of(all),
                    .gradient_norm = std::sqrt(tensor::squared_norm(context_, gradients)) * to_mean,
                    .learning_rate = learning_rate_at(options_, number),
                    .targets = all.terms,
                    .tokens = all.tokens,
                    .stop = stopping};
  result.skipped = !std::isfinite(result.loss) || !std::isfinite(result.gradient_norm);
  result.spike = !result.skipped && state_.losses.is_spike(result.loss, options_.spike_factor) && can_roll_back();
  if (result.spike) return result;
  if (result.skipped) {
    skip(result);
  } else {
    const bool clip = options_.gradient_clip > 0 && result.gradient_norm > options_.gradient_clip;
    if (writer_) {
      const std::int64_t start_ns = clock_.monotonic_ns();
      writer_->before_update(context_);
      checkpoint_wait_s_ += static_cast<double>(clock_.monotonic_ns() - start_ns) * 1e-9;
    }
    optimizer_->update(context_, {.number = number - state_.skipped_steps,
                                  .rate = result.learning_rate,
                                  .gradient_scale =
                                      to_mean * (clip ? options_.gradient_clip / (result.gradient_norm + 1e-6) : 1.0)});
    state_.skipped_in_a_row = 0;
    state_.losses.add(result.loss);
  }
  state_.step = number;
  ++state_.data_step;
  state_.tokens_seen += all.tokens;
  return result;
}

void Trainer::skip(const StepResult& result) {
  ++state_.skipped_steps;
  if (++state_.skipped_in_a_row <= options_.non_finite_steps_max) return;
  throw Error(
      ErrorKind::kInvalid,
      "Step {}: the loss is {} and the gradient's norm {}, and the {} steps before were no better; training has "
      "diverged. Lower learning_rate (now {:.3g}), or lengthen warmup_steps",
      state_.step + 1, result.loss, result.gradient_norm, options_.non_finite_steps_max, options_.learning_rate);
}

std::optional<Evaluation> Trainer::evaluate(const std::atomic<bool>& stop) {
  const std::int64_t count = std::min(options_.evaluate_sequences, objective_.evaluation_count()),
                     micro_batch = at_once(options_);
  Evaluation result{.step = state_.step};
  if (count == 0) return result;
  Sums mine;
  const auto [begin, end] = parallel::share_of(count, collectives_.rank(), collectives_.size());
  for (std::int64_t first = begin; first < end; first += micro_batch) {
    if (stop) {
      mine.given_up = true;
      break;
    }
    mine.cost += objective_.evaluate(decoder_, first, std::min(micro_batch, end - first));
  }
  const auto [all, stopping, given_up] = summed(mine, count * objective_.terms_max());
  if (given_up) return {};
  result.targets = all.terms;
  if (all.terms == 0) return result;
  result.loss = all.loss / static_cast<double>(all.terms);
  result.preferences = preferences_of(all);
  return result;
}

void Trainer::report(const Events& events, const std::optional<CheckpointWriter::Finished>& written) const {
  if (written && events.on_checkpoint) events.on_checkpoint(written->name, written->step);
}

void Trainer::save(const Events& events) {
  if (options_.checkpoint_folder.empty() || saved_step_ == state_.step) return;
  saved_step_ = state_.step;
  rollbacks_to_it_ = 0;
  if (!writer_) return;
  const std::int64_t start_ns = clock_.monotonic_ns();
  report(events, writer_->wait());
  writer_->begin(state_);
  checkpoint_wait_s_ += static_cast<double>(clock_.monotonic_ns() - start_ns) * 1e-9;
}

Outcome Trainer::leave(const Events& events) {
  save(events);
  if (writer_) report(events, writer_->wait());
  collectives_.barrier();
  return Outcome::kStopped;
}

bool Trainer::can_roll_back() const { return saved_step_ >= 0 && rollbacks_to_it_ < options_.spike_rollbacks_max; }

void Trainer::roll_back(double loss, const Events& events) {
  if (writer_) report(events, writer_->wait());
  Rollback news{.from_step = state_.step + 1, .loss = loss, .median = state_.losses.median()};
  const std::int64_t data_step = state_.data_step + 1, rollbacks = state_.rollbacks + 1;
  if (!load()) {
    throw Error(ErrorKind::kCorrupt, "Going back from the loss {} at step {}: there is no whole checkpoint in {}", loss,
                news.from_step, options_.checkpoint_folder);
  }
  state_.data_step = data_step;
  state_.rollbacks = rollbacks;
  ++rollbacks_to_it_;
  news.to_step = state_.step;
  if (events.on_rollback) events.on_rollback(news);
}

Outcome Trainer::run(const std::atomic<bool>& stop, const Events& events) {
  const auto seconds = [this] { return static_cast<double>(clock_.monotonic_ns()) * 1e-9; };
  const auto every = [this](std::int64_t period) { return period > 0 && state_.step % period == 0; };
  double step_s = 0, evaluation_s = 0;  // how long one takes, lately
  // False when it was given up.
  const auto evaluate_now = [&] {
    const double start = seconds();
    const std::optional<Evaluation> evaluation = evaluate(stop);
    if (!evaluation) return false;
    evaluation_s = seconds() - start;
    if (state_.step == 0) state_.first_evaluation_loss = evaluation->loss;
    if (events.on_evaluation && evaluation->targets > 0) events.on_evaluation(*evaluation);
    return true;
  };

  const auto tell = [&](std::int64_t done, std::int64_t of) {
    if (events.on_preparation) events.on_preparation({.done = done, .of = of});
  };
  plan_.take_pages(context_);  // not before: a dry run takes none
  if (!prepared_ && !(prepared_ = objective_.prepare(decoder_, at_once(options_), collectives_, stop, tell))) {
    return Outcome::kStopped;
  }
  // Before the first step, and where a run that goes on may have been stopped before or in the evaluation that was due.
  if (state_.step < options_.steps && every(options_.evaluate_every) && !evaluate_now()) return leave(events);
  while (state_.step < options_.steps) {
    if (writer_) report(events, writer_->poll());
    const double start = seconds();
    const StepResult result = step(stop);
    if (result.given_up) return leave(events);
    if (result.spike) {
      roll_back(result.loss, events);
      continue;
    }
    const double took_s = std::max(seconds() - start, 1e-9);
    step_s = step_s == 0 ? took_s : 0.9 * step_s + 0.1 * took_s;
    if (events.on_step) {
      const std::int64_t left = options_.steps - state_.step;
      const std::int64_t evaluations = options_.evaluate_every > 0 ? left / options_.evaluate_every : 0;
      events.on_step(
          {.step = state_.step,
           .steps = options_.steps,
           .loss = result.loss,
           .preferences = result.preferences,
           .learning_rate = result.learning_rate,
           .gradient_norm = result.gradient_norm,
           .tokens_per_s = static_cast<double>(result.tokens) / step_s,
           .seconds_left = static_cast<double>(left) * step_s + static_cast<double>(evaluations) * evaluation_s,
           .targets = result.targets,
           .skipped_steps = state_.skipped_steps,
           .skipped = result.skipped,
           .checkpoint_wait_s = checkpoint_wait_s_});
    }
    const bool done = state_.step == options_.steps;
    if (result.stop && !done) return leave(events);
    const bool evaluates = options_.evaluate_every > 0 && (done || every(options_.evaluate_every));
    if (evaluates && !evaluate_now()) return leave(events);
    // Steps that are not finite may be the end of a good model, whose checkpoints are not to be pushed out.
    if ((every(options_.checkpoint_every) && !result.skipped) || done) save(events);
  }
  if (writer_) report(events, writer_->wait());
  collectives_.barrier();
  return Outcome::kFinished;
}

}  // namespace athanor::train
