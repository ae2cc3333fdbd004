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

namespace athanor::train {

using tensor::DType;
using tensor::Tensor;

namespace {

model::DecoderSizes sizes_of(const TrainOptions& options) {
  return {.batch_max = std::min(options.micro_batch, options.batch), .length_max = options.length, .backward = true};
}

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
      parameters_(config, true, plan_),
      decoder_(context, parameters_, sizes_of(options), plan_) {
  const std::int64_t size = parameters_.layout().size(), batch = sizes_of(options).batch_max;
  m_ = &plan_.add("optimizer", "m", DType::kFloat32, {size});
  v_ = &plan_.add("optimizer", "v", DType::kFloat32, {size});
  tokens_ = &plan_.add("tokens", "tokens", DType::kInt32, {batch, options.length});
  targets_ = &plan_.add("tokens", "targets", DType::kInt32, {batch, options.length});
  row_ = &plan_.add("tokens", "row", DType::kInt32, {options.length + 1});
  plan_.allocate(options.memory_limit_bytes ? options.memory_limit_bytes : tensor::available_memory_bytes(),
                 fmt::format("A smaller micro_batch ({} now) or length ({}) needs less for activations, a smaller model "
                             "less for parameters, gradients and optimizer",
                             batch, options.length));
  for (const model::ParameterInfo& info : parameters_.layout().all()) {
    const std::int64_t end = info.offset + info.count;
    if (!segments_.empty() && segments_.back().decays == info.decays) {
      segments_.back().end = end;
    } else {
      segments_.push_back({info.offset, end, info.decays});
    }
  }
}

void Trainer::initialize() {
  state_ = {};
  parameters_.initialize(options_.seed);
  std::memset(m_->data(), 0, m_->bytes());
  std::memset(v_->data(), 0, v_->bytes());
}

bool Trainer::resume() {
  // Rank 0 reads and the others are told: they may have no checkpoints, or others.
  struct {
    std::int64_t found = 0;
    TrainState state;
  } news;
  static_assert(std::is_trivially_copyable_v<TrainState>);
  if (collectives_.rank() == 0 && !options_.checkpoint_folder.empty()) {
    const auto loaded =
        load_newest_checkpoint(files_, options_.checkpoint_folder, config_, parameters_.layout(), input_, tensors());
    if (loaded) news = {1, *loaded};
  }
  collectives_.broadcast(std::as_writable_bytes(std::span(&news, 1)), 0);
  if (!news.found) return false;
  for (const Tensor& buffer : {parameters_.values(), *m_, *v_}) parallel::broadcast(collectives_, buffer);
  state_ = news.state;
  saved_step_ = state_.step;
  return true;
}

void Trainer::place(std::int64_t into) {
  const std::span<const std::int32_t> row = row_->ints();
  for (const std::int32_t id : row) {
    if (id < 0 || id >= config_.vocab_size) {
      throw Error(ErrorKind::kInvalid,
                  "The training data has token {}, and the model knows {}: the tokens were made with another tokenizer",
                  id, config_.vocab_size);
    }
  }
  const auto length = static_cast<std::size_t>(options_.length);
  std::copy_n(row.begin(), length, tokens_->rows(into, into + 1).i32());
  std::copy_n(row.begin() + 1, length, targets_->rows(into, into + 1).i32());
}

// One step: this rank's share of the sequences in micro-batches, then everybody's gradients, then the update.
Trainer::StepResult Trainer::step(const std::atomic<bool>& stop) {
  const std::int64_t number = state_.step + 1, micro_batch = tokens_->dim(0);
  const std::int64_t tokens_in_step = options_.batch * options_.length;
  const Tensor gradients = parameters_.gradients();
  std::memset(gradients.data(), 0, gradients.bytes());

  double loss = 0;
  const auto [begin, end] = parallel::share_of(options_.batch, collectives_.rank(), collectives_.size());
  bool given_up = false;
  for (std::int64_t first = begin; first < end; first += micro_batch) {
    if (stop) {
      given_up = true;
      break;
    }
    const std::int64_t count = std::min(micro_batch, end - first);
    for (std::int64_t i = 0; i < count; ++i) {
      sequences_.training(number, first + i, row_->ints());
      place(i);
    }
    loss += decoder_.forward_backward(tokens_->rows(0, count), targets_->rows(0, count),
                                      1.0F / static_cast<float>(tokens_in_step));
  }
  // Before the gradients: whether there are any is for all to know.
  float shared[3] = {static_cast<float>(loss / static_cast<double>(tokens_in_step)), stop ? 1.0F : 0.0F, given_up ? 1.0F : 0.0F};
  if (collectives_.size() > 1) collectives_.all_reduce_sum(shared);
  if (shared[2] > 0) return {.stop = true, .given_up = true};
  parallel::all_reduce_buckets(collectives_, gradients);

  StepResult result{.loss = collectives_.size() > 1 ? static_cast<double>(shared[0])
                                                    : loss / static_cast<double>(tokens_in_step),
                    .gradient_norm = std::sqrt(tensor::squared_norm(context_, gradients)),
                    .learning_rate = learning_rate_at(options_, number),
                    .stop = shared[1] > 0};
  if (!std::isfinite(result.loss) || !std::isfinite(result.gradient_norm)) {
    throw Error(ErrorKind::kInvalid,
                "Step {}: the loss is {} and the gradient's norm {}; training has diverged. Lower learning_rate (now "
                "{:.3g}), or lengthen warmup_steps",
                number, result.loss, result.gradient_norm, options_.learning_rate);
  }
  const bool clip = options_.gradient_clip > 0 && result.gradient_norm > options_.gradient_clip;
  update(result.learning_rate, clip ? options_.gradient_clip / (result.gradient_norm + 1e-6) : 1.0);
  state_.step = number;
  state_.tokens_seen += tokens_in_step;
  return result;
}

void Trainer::update(double learning_rate, double gradient_scale) {
  for (const Segment& segment : segments_) {
    const auto part = [&](const Tensor& flat) { return flat.rows(segment.begin, segment.end); };
    tensor::adamw(context_,
                  {.rate = learning_rate,
                   .beta1 = options_.beta1,
                   .beta2 = options_.beta2,
                   .eps = options_.adam_eps,
                   .weight_decay = segment.decays ? options_.weight_decay : 0,
                   .step = state_.step + 1,
                   .gradient_scale = gradient_scale},
                  part(parameters_.values()), part(parameters_.gradients()), part(*m_), part(*v_));
  }
}

double Trainer::evaluate() {
  const std::int64_t count =
      std::min(options_.evaluate_sequences, sequences_.evaluation_count(options_.length)), micro_batch = tokens_->dim(0);
  if (count == 0) return 0;
  double loss = 0;
  const auto [begin, end] = parallel::share_of(count, collectives_.rank(), collectives_.size());
  for (std::int64_t first = begin; first < end; first += micro_batch) {
    const std::int64_t rows = std::min(micro_batch, end - first);
    for (std::int64_t i = 0; i < rows; ++i) {
      sequences_.evaluation(first + i, row_->ints());
      place(i);
    }
    loss += decoder_.loss(tokens_->rows(0, rows), targets_->rows(0, rows));
  }
  float mean = static_cast<float>(loss / static_cast<double>(count * options_.length));
  collectives_.all_reduce_sum(std::span(&mean, 1));
  return static_cast<double>(mean);
}

void Trainer::save(const Events& events) {
  if (options_.checkpoint_folder.empty() || saved_step_ == state_.step) return;
  saved_step_ = state_.step;
  if (collectives_.rank() != 0) return;
  const std::string name = save_checkpoint(files_, options_.checkpoint_folder, config_, parameters_.layout(), input_,
                                           state_, tensors(), options_.checkpoints_kept);
  if (events.on_checkpoint) events.on_checkpoint(name, state_.step);
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
    const double start = seconds();
    const StepResult result = step(stop);
    if (result.given_up) {
      save(events);
      collectives_.barrier();
      return Outcome::kStopped;
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
                          static_cast<double>(left) * step_s + static_cast<double>(evaluations) * evaluation_s});
    }
    const bool done = state_.step == options_.steps;
    if (result.stop && !done) {
      save(events);
      collectives_.barrier();  // nobody leaves before the checkpoint is whole
      return Outcome::kStopped;
    }
    if (every(options_.evaluate_every) || (done && options_.evaluate_every > 0)) evaluate_now();
    if (every(options_.checkpoint_every) || done) save(events);
  }
  collectives_.barrier();
  return Outcome::kFinished;
}

}  // namespace athanor::train
