#include "engine/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>

#include "common/error.h"
#include "engine/parallel/data_parallel.h"
#include "engine/tensor/adamw.h"
#include "engine/tensor/available_memory.h"
#include "engine/tensor/cross_entropy.h"

namespace athanor::train {

using tensor::DType;
using tensor::Tensor;

namespace {

model::DecoderSizes sizes_of(const TrainOptions& options) {
  return {.batch_max = std::min(options.micro_batch, options.batch), .length_max = options.length, .backward = true};
}

// Whether the gradients of a step are a sum over micro-batches.
bool sums_gradients(const TrainOptions& options, int ranks) {
  return (options.batch + ranks - 1) / ranks > sizes_of(options).batch_max;
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

TrainTensors tensors_of(const TrainOptions& options, const model::FlatParameters& parameters, const Optimizer& optimizer) {
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

// Of the copy of the state (TrainOptions::checkpoint_room); 0 when there is none.
std::uint64_t room_bytes(const TrainOptions& options, const parallel::Collectives& collectives,
                         const model::FlatParameters& parameters, const Optimizer& optimizer) {
  if (!writes_checkpoints(options, collectives) || !options.checkpoint_room || options.checkpoint_every == 0) return 0;
  return tensors_of(options, parameters, optimizer).bytes();
}

std::uint64_t memory_limit(const TrainOptions& options) {
  return options.memory_limit_bytes ? options.memory_limit_bytes : tensor::available_memory_bytes();
}

// With the least recomputation that fits, if any does.
model::DecoderSizes fitting_sizes(const model::Config& config, const TrainOptions& options, tensor::Context& context,
                                  const parallel::Collectives& collectives) {
  model::DecoderSizes sizes = sizes_of(options);
  if (const auto told = recompute_of(options.recompute)) {
    sizes.recompute = *told;
    return sizes;
  }
  const std::uint64_t limit = memory_limit(options);
  for (const auto recompute : {model::Recompute::kLittle, model::Recompute::kGateUp, model::Recompute::kLayer}) {
    sizes.recompute = recompute;
    tensor::MemoryPlan trial;
    TrainedModel tried = plan_model(config, options, collectives.size(), trial);
    const model::Decoder decoder(context, tried.weights(), sizes, trial);
    const auto optimizer = plan_optimizer(options, tried.trained(), trial);
    if (trial.least_bytes() + room_bytes(options, collectives, tried.trained(), *optimizer) <= limit - limit / 64) break;
  }
  return sizes;
}

// A float holds whole numbers to 2^24: a count crosses the ranks in two.
constexpr std::int64_t kCountUnit = 1 << 12;

}  // namespace

Trainer::Trainer(const model::Config& config, const TrainOptions& options, tensor::Context& context,
                 parallel::Collectives& collectives, data::Sequences& sequences, Files& files, const Clock& clock,
                 TrainText text)
    : config_(config),
      options_((check(options), options)),
      input_{.batch = options.batch, .length = options.length, .seed = options.seed, .text = std::move(text)},
      context_(context),
      collectives_(collectives),
      sequences_(sequences),
      files_(files),
      clock_(clock),
      model_(plan_model(config, options, collectives.size(), plan_)),
      decoder_(context, model_.weights(), fitting_sizes(config, options, context, collectives), plan_),
      optimizer_(plan_optimizer(options_, model_.trained(), plan_)) {
  const std::int64_t batch = sizes_of(options).batch_max;
  tokens_ = &plan_.add("tokens", "tokens", DType::kInt32, {batch, options.length});
  targets_ = &plan_.add("tokens", "targets", DType::kInt32, {batch, options.length});
  starts_ = &plan_.add("tokens", "document starts", DType::kInt32, {batch, options.length});
  const bool writes = writes_checkpoints(options, collectives);
  const Tensor* room = nullptr;
  if (const std::uint64_t bytes = room_bytes(options, collectives, model_.trained(), *optimizer_)) {
    room = &plan_.add("checkpoint", "room", DType::kUInt8, {static_cast<std::int64_t>(bytes)});
  }
  plan_.allocate(memory_limit(options),
                 fmt::format("A smaller micro_batch ({} now) or length ({}) needs less for activations, a smaller model "
                             "less for parameters, gradients and optimizer{}{}",
                             batch, options.length,
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

TrainTensors Trainer::tensors() { return tensors_of(options_, model_.trained(), *optimizer_); }

void Trainer::initialize() {
  state_ = {};
  model_.initialize(context_, options_.seed);
  optimizer_->clear();
}

void Trainer::load_model(model::ModelSource& source) {
  state_ = {};
  model_.load(context_, source, options_.seed);
  optimizer_->clear();
}

bool Trainer::load() {
  // Rank 0 reads and the others are told: they may have no checkpoints, or others.
  struct {
    std::int64_t found = 0;
    TrainState state;
  } news;
  static_assert(std::is_trivially_copyable_v<TrainState>);
  if (collectives_.rank() == 0 && !options_.checkpoint_folder.empty()) {
    const auto loaded =
        load_newest_checkpoint(files_, options_.checkpoint_folder, config_, input_, tensors());
    if (loaded) news = {1, *loaded};
  }
  collectives_.broadcast(std::as_writable_bytes(std::span(&news, 1)), 0);
  if (!news.found) return false;
  for (const Tensor& buffer : tensors().buffers) parallel::broadcast(collectives_, buffer);
  state_ = news.state;
  saved_step_ = state_.step;
  return true;
}

bool Trainer::resume() { return load(); }

data::Row Trainer::row(std::int64_t into) const {
  const auto part = [&](const Tensor* of) { return of->rows(into, into + 1).ints(); };
  return {part(tokens_), part(targets_), part(starts_)};
}

std::int64_t Trainer::check_row(std::int64_t into) const {
  const data::Row filled = row(into);
  const auto check_id = [&](std::int32_t id) {
    if (id >= 0 && id < config_.vocab_size) return;
    throw Error(ErrorKind::kInvalid,
                "The training data has token {}, and the model knows {}: the tokens were made with another tokenizer", id,
                config_.vocab_size);
  };
  std::int64_t targets = 0;
  for (std::size_t i = 0; i < filled.tokens.size(); ++i) {
    check_id(filled.tokens[i]);
    if (filled.targets[i] == tensor::kNoTarget) continue;
    check_id(filled.targets[i]);
    ++targets;
  }
  return targets;
}

Tensor Trainer::starts(std::int64_t rows) const { return sequences_.packed() ? starts_->rows(0, rows) : Tensor(); }

Trainer::Sums Trainer::summed(const Sums& mine, std::int64_t nominal) {
  if (collectives_.size() == 1) return mine;
  float all[] = {static_cast<float>(mine.loss / static_cast<double>(nominal)), static_cast<float>(mine.targets % kCountUnit),
                 static_cast<float>(mine.targets / kCountUnit), mine.stop ? 1.0F : 0.0F, mine.given_up ? 1.0F : 0.0F};
  collectives_.all_reduce_sum(all);
  return {.loss = static_cast<double>(all[0]) * static_cast<double>(nominal),
          .targets = static_cast<std::int64_t>(all[2]) * kCountUnit + static_cast<std::int64_t>(all[1]),
          .stop = all[3] > 0,
          .given_up = all[4] > 0};
}

// One step: this rank's share of the sequences in micro-batches, then everybody's gradients, then the update.
Trainer::StepResult Trainer::step(const std::atomic<bool>& stop) {
  const std::int64_t number = state_.step + 1, micro_batch = tokens_->dim(0);
  const std::int64_t tokens_in_step = options_.batch * options_.length;
  const Tensor gradients = model_.trained().gradients();
  Sums mine;
  const auto [begin, end] = parallel::share_of(options_.batch, collectives_.rank(), collectives_.size());
  // Otherwise the backward pass makes them.
  if (begin == end || !model_.gradients_anew()) std::memset(gradients.data(), 0, gradients.bytes());
  for (std::int64_t first = begin; first < end; first += micro_batch) {
    if (stop) {
      mine.given_up = true;
      break;
    }
    const std::int64_t count = std::min(micro_batch, end - first);
    for (std::int64_t i = 0; i < count; ++i) {
      sequences_.training(state_.data_step + 1, first + i, row(i));
      mine.targets += check_row(i);
    }
    mine.loss += decoder_.forward_backward(tokens_->rows(0, count), targets_->rows(0, count),
                                           1.0F / static_cast<float>(tokens_in_step), starts(count),
                                           {.key = options_.seed * 0x9E3779B97F4A7C15ULL + static_cast<std::uint64_t>(number),
                                            .first_sequence = first});
  }
  // Before the gradients: whether there are any is for all to know.
  mine.stop = stop;
  const Sums all = summed(mine, tokens_in_step);
  if (all.given_up) return {.stop = true, .given_up = true};
  parallel::all_reduce_buckets(collectives_, gradients);
  ATHANOR_ASSERT(all.targets > 0);
  // How many targets the step has in all is known only now: gradients were weighted as if every token had one.
  const double to_mean = static_cast<double>(tokens_in_step) / static_cast<double>(all.targets);
  StepResult result{.loss = all.loss / static_cast<double>(all.targets),
                    .gradient_norm = std::sqrt(tensor::squared_norm(context_, gradients)) * to_mean,
                    .learning_rate = learning_rate_at(options_, number),
                    .targets = all.targets,
                    .stop = all.stop};
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
    optimizer_->update(context_,
                       {.number = number - state_.skipped_steps,
                        .rate = result.learning_rate,
                        .gradient_scale = to_mean * (clip ? options_.gradient_clip / (result.gradient_norm + 1e-6) : 1.0)});
    state_.skipped_in_a_row = 0;
    state_.losses.add(result.loss);
  }
  state_.step = number;
  ++state_.data_step;
  state_.tokens_seen += tokens_in_step;
  return result;
}

void Trainer::skip(const StepResult& result) {
  ++state_.skipped_steps;
  if (++state_.skipped_in_a_row <= options_.non_finite_steps_max) return;
  throw Error(ErrorKind::kInvalid,
              "Step {}: the loss is {} and the gradient's norm {}, and the {} steps before were no better; training has "
              "diverged. Lower learning_rate (now {:.3g}), or lengthen warmup_steps",
              state_.step + 1, result.loss, result.gradient_norm, options_.non_finite_steps_max, options_.learning_rate);
}

double Trainer::evaluate() {
  const std::int64_t count =
      std::min(options_.evaluate_sequences, sequences_.evaluation_count(options_.length)), micro_batch = tokens_->dim(0);
  if (count == 0) return 0;
  Sums mine;
  const auto [begin, end] = parallel::share_of(count, collectives_.rank(), collectives_.size());
  for (std::int64_t first = begin; first < end; first += micro_batch) {
    const std::int64_t rows = std::min(micro_batch, end - first);
    for (std::int64_t i = 0; i < rows; ++i) {
      sequences_.evaluation(first + i, row(i));
      mine.targets += check_row(i);
    }
    mine.loss += decoder_.loss(tokens_->rows(0, rows), targets_->rows(0, rows), starts(rows));
  }
  const Sums all = summed(mine, count * options_.length);
  return all.targets > 0 ? all.loss / static_cast<double>(all.targets) : 0;
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
  const auto evaluate_now = [&] {
    const double start = seconds();
    const double loss = evaluate();
    evaluation_s = seconds() - start;
    if (state_.step == 0) state_.first_evaluation_loss = loss;
    if (events.on_evaluation && loss != 0) events.on_evaluation(state_.step, loss);
  };

  if (state_.step == 0 && options_.evaluate_every > 0) evaluate_now();
  while (state_.step < options_.steps) {
    if (writer_) report(events, writer_->poll());
    const double start = seconds();
    const StepResult result = step(stop);
    if (result.given_up) {
      save(events);
      if (writer_) report(events, writer_->wait());
      collectives_.barrier();
      return Outcome::kStopped;
    }
    if (result.spike) {
      roll_back(result.loss, events);
      continue;
    }
    const double took_s = std::max(seconds() - start, 1e-9);
    step_s = step_s == 0 ? took_s : 0.9 * step_s + 0.1 * took_s;
    if (events.on_step) {
      const std::int64_t left = options_.steps - state_.step;
      const std::int64_t evaluations = options_.evaluate_every > 0 ? left / options_.evaluate_every : 0;
      events.on_step({.step = state_.step,
                      .steps = options_.steps,
                      .loss = result.loss,
                      .learning_rate = result.learning_rate,
                      .gradient_norm = result.gradient_norm,
                      .tokens_per_s = static_cast<double>(options_.batch * options_.length) / step_s,
                      .seconds_left =
                          static_cast<double>(left) * step_s + static_cast<double>(evaluations) * evaluation_s,
                      .targets = result.targets,
                      .skipped_steps = state_.skipped_steps,
                      .skipped = result.skipped,
                      .checkpoint_wait_s = checkpoint_wait_s_});
    }
    const bool done = state_.step == options_.steps;
    if (result.stop && !done) {
      save(events);
      if (writer_) report(events, writer_->wait());
      collectives_.barrier();  // nobody leaves before the checkpoint is whole
      return Outcome::kStopped;
    }
    if (every(options_.evaluate_every) || (done && options_.evaluate_every > 0)) evaluate_now();
    if (every(options_.checkpoint_every) || done) save(events);
  }
  if (writer_) report(events, writer_->wait());
  collectives_.barrier();
  return Outcome::kFinished;
}

}  // namespace athanor::train
