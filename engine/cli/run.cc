#include "engine/cli/run.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <memory>

#include "common/clock.h"
#include "common/counts.h"
#include "common/descriptor.h"
#include "common/error.h"
#include "engine/cli/agreement.h"
#include "engine/cli/console.h"
#include "engine/cli/example_tokenizer.h"
#include "engine/cli/machine_rates.h"
#include "engine/cli/ring_collectives.h"
#include "engine/cli/run_log.h"
#include "engine/cli/step_estimate.h"
#include "engine/model/adapter_files.h"
#include "engine/model/decoder_cached.h"
#include "engine/model/generate.h"
#include "engine/model/huggingface.h"
#include "engine/model/tokenizer/tokenizer_files.h"
#include "engine/model/tokenizer/utf8.h"
#include "engine/parallel/data_parallel.h"
#include "engine/tensor/available_memory.h"
#include "engine/train/checkpoint.h"
#include "engine/train/trainer.h"

namespace athanor::llm {

namespace {

constexpr std::int64_t kConnectTimeout_ms = 300'000;
// The others wait while rank 0 makes the tokens; that a peer is gone is noticed long before, by its connection.
constexpr std::int64_t kSilenceTimeout_ms = 6 * 3'600'000;
constexpr double kBeatEvery_s = 0.25;
constexpr double kPreparationEvery_s = 10;
constexpr double kLineEvery_s = 60;

std::unique_ptr<parallel::Collectives> connect(const Peers& peers, LogFormat log) {
  if (peers.world_size == 1) return std::make_unique<parallel::Alone>();
  note(log, "rank {} of {}: meeting the others at {}", peers.rank, peers.world_size, peers.rendezvous);
  return std::make_unique<RingCollectives>(comm::CommOptions{.rank = peers.rank,
                                                             .world_size = peers.world_size,
                                                             .rendezvous = peers.rendezvous,
                                                             .generation = peers.generation,
                                                             .connect_timeout_ms = kConnectTimeout_ms,
                                                             .timeout_ms = kSilenceTimeout_ms});
}

// What is computed again in the backward pass, as the rest of a sentence.
std::string recomputation(const model::DecoderSizes& sizes, std::int64_t layers) {
  if (sizes.recompute == model::Recompute::kLittle) return {};
  const std::int64_t of = std::min(layers, sizes.recompute_layers);
  const bool whole = sizes.recompute == model::Recompute::kLayer;
  return fmt::format("; backward, {} of {} layers {}", of, layers,
                     !whole        ? "compute gate and up again"
                     : of < layers ? "are computed again, of the others gate and up"
                                   : "are computed again");
}

void say_sizes(LogFormat log, const Material& material, const TrainSettings& s, const train::Trainer& trainer,
               const parallel::Collectives& collectives, int threads) {
  const model::Config& c = material.model.config;
  const train::TrainOptions& t = material.options;
  write_line(start_line(log, {.parameters = model::parameter_count(c),
                              .tokens = material.text.tokens,
                              .steps = t.steps,
                              .batch = t.batch,
                              .length = t.length,
                              .ranks = collectives.size(),
                              .threads = threads,
                              .memory_bytes = trainer.memory().bytes()}));
  for (const std::string& line : material.notes) note(log, "{}", line);
  note(log, "model       {} parameters: {}, width {}, {} ({} for keys and values) of {}, feed-forward {}",
       format_count(model::parameter_count(c)), format_count(c.num_hidden_layers, "layer"), c.hidden_size,
       format_count(c.num_attention_heads, "head"), c.num_key_value_heads, c.head_dim, c.intermediate_size);
  const Task task = task_of(s.task);
  note(log, "training    {} of {} {} ({:.2f} times the {}), on {} with {} each", format_count(t.steps, "step"),
       task == Task::kDpo ? format_count(t.batch, "pair") + " of answers of at most"
                          : format_count(t.batch, "sequence") + " of",
       format_count(t.length, "token"),
       static_cast<double>(t.steps) * static_cast<double>(t.batch) / static_cast<double>(material.examples_in_epoch),
       tunes(task) ? "data" : "text", format_count(collectives.size(), "rank"), format_count(threads, "thread"));
  note(log, "memory of each rank, all of it taken before the first step{}:\n{}",
       recomputation(trainer.sizes(), c.num_hidden_layers), trainer.memory().table());
}

// What a step takes, by what this machine does just now. `rows` are those of an example.
void say_step(LogFormat log, tensor::Context& context, const Clock& clock, const model::Config& config,
              const train::TrainOptions& options, train::Trainer& trainer, std::int64_t rows, int ranks) {
  constexpr double kMeasure_s = 1;
  const auto products = [&](tensor::DType type) { return product_rate(context, type, clock, kMeasure_s).mean; };
  const SustainedRates rates{.products = products(train::dtype_of(options.dtype)),
                             .attention = products(tensor::DType::kFloat32),
                             .bytes = triad_rate(context, clock, kMeasure_s).mean};
  const StepEstimate step =
      estimate_step(config, options, trainer.model().trained().layout(), trainer.sizes(), rows, ranks, rates);
  note(log,
       "a step      {}{:.3g} floating-point operations over all ranks; about {:.3g} s{}, at the {:.3g} operations a "
       "second that products of {} make here and {:.3g} bytes of memory",
       rows > 1 ? "of the longest answers: " : "", step.flops, step.seconds,
       ranks > 1 ? " and what it waits for the others" : "", rates.products, options.dtype, rates.bytes);
  note(log, "{:<12}about {} for {}, without evaluations", "the run",
       format_seconds(step.seconds * static_cast<double>(options.steps)), format_count(options.steps, "step"));
}

// New parameters, or those of the model that the run begins with. All ranks call it.
void begin(train::Trainer& trainer, const Material& material, bool goes_on, parallel::Collectives& collectives) {
  if (!goes_on || !material.source) trainer.initialize();
  if (!goes_on) return;
  if (material.source) trainer.load_model(*material.source);
  for (const tensor::Tensor& buffer : trainer.model().loaded()) parallel::broadcast(collectives, buffer);
}

// A text in the model's own words, on standard output.
void say_sample(LogFormat log, tensor::Context& context, train::Trainer& trainer, const Material& material,
                const TrainSettings& settings) {
  const model::Config& config = material.model.config;
  const bool goes_on = tunes(task_of(settings.task));
  if (settings.sample_tokens == 0 || (goes_on && settings.prompt.empty())) return;
  if (trainer.model().whole() == nullptr) {
    note(log, "what it says now: athanor-llm generate --model MODEL --adapter OUT --prompt TEXT");
    return;
  }
  std::vector<model::TokenId> prompt =
      goes_on ? prompt_tokens(material.tokenizer, settings.prompt) : material.tokenizer.encode(settings.prompt);
  if (prompt.empty()) prompt.push_back(material.tokenizer.end_of_text().value_or(0));
  const auto size = static_cast<std::int64_t>(prompt.size());
  if (size >= config.max_position_embeddings) return;
  tensor::MemoryPlan plan;
  model::CachedDecoder decoder(context, trainer.parameters(),
                               {.length_max = std::min(config.max_position_embeddings, size + settings.sample_tokens)},
                               plan);
  try {
    plan.allocate(tensor::available_memory_bytes(), "Fewer sample_tokens need less");
  } catch (const Error& error) {  // the model is made; it can be asked later
    return note(log, "There is no sample of what it writes. {}", error.what());
  }
  std::vector<model::TokenId> written;
  model::generate(decoder, prompt, config.vocab_size,
                  {.tokens = settings.sample_tokens,
                   .temperature = settings.temperature,
                   .seed = settings.train.seed,
                   .end_of_text = material.model.end_of_text},
                  [&](model::TokenId token) { return written.push_back(token), true; });
  note(log, "sample:\n{}{}{}", settings.prompt,
       goes_on && !material.tokenizer.parts().chat_template.empty() ? "\n" : "",
       model::utf8_repaired(material.tokenizer.decode(written)));
}

// A run that trains for hours must not find out at its end that its result has no place.
void check_writable(Files& files, const std::string& folder) {
  if (folder.empty()) return;
  train::make_durable_folders(files, folder);
  if (::access(folder.c_str(), W_OK | X_OK) == 0) return;
  throw Error(ErrorKind::kDenied, "Nothing can be written to {}: {}. Give another folder", folder,
              std::strerror(errno));
}

// Keeps a run's folder from another run, as long as it is held. Where folders cannot be locked, nobody is kept out.
Descriptor held(const std::string& folder) {
  Descriptor place(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (place && ::flock(place.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    throw Error(ErrorKind::kConflict, "Another run is writing to {}: wait for its end, or give another --out", folder);
  }
  return place;
}

// The whole model, or the adapters of `base`.
void save_model(Files& files, const std::string& folder, const std::string& base, const Material& material,
                train::Trainer& trainer) {
  if (const model::Adapters* adapters = trainer.model().adapters()) {
    return save_adapters(files, folder, *adapters, base);
  }
  files.make_folders(folder);
  model::save_tokenizer(files, folder, material.tokenizer, material.model.config.max_position_embeddings);
  model::save_huggingface(files, folder, material.model, trainer.parameters());
}

// What is said while it trains, and sent to the agent. Rank 0 speaks for all.
train::Events events_of(const TrainSettings& settings, const Clock& clock, AgentSocket& agent,
                        train::Evaluation& last) {
  train::Events events;
  const LogFormat log = log_format(settings.log);
  const auto seconds = [&clock] { return static_cast<double>(clock.monotonic_ns()) * 1e-9; };
  events.on_preparation = [log, seconds, told_s = seconds()](const train::Preparation& p) mutable {
    const double now_s = seconds();
    if (p.done < p.of && now_s - told_s < kPreparationEvery_s) return;
    told_s = now_s;
    write_line(preparation_line(log, p));
  };
  events.on_step = [&, log, seconds, told_s = seconds(), beaten_s = -kBeatEvery_s](const train::Progress& p) mutable {
    const bool ends = p.step == p.steps;
    const double now_s = seconds();
    if (p.step == 1 || ends || p.skipped || p.step % settings.log_every == 0 || now_s - told_s >= kLineEvery_s) {
      told_s = now_s;
      write_line(step_line(log, p));
    }
    if (log == LogFormat::kText && !ends) show_status([&](std::size_t width) { return status_line(p, width); });
    if (ends || now_s - beaten_s >= kBeatEvery_s) {
      beaten_s = now_s;
      agent.beat(p.step, p.steps, p.loss, p.tokens_per_s, p.seconds_left);
    }
  };
  events.on_evaluation = [&, log](const train::Evaluation& evaluation) {
    last = evaluation;
    write_line(evaluation_line(log, evaluation));
  };
  events.on_checkpoint = [&, log](const std::string& name, std::int64_t step) {
    write_line(checkpoint_line(log, name, step));
    agent.checkpoint(name, step);
  };
  events.on_rollback = [log](const train::Rollback& rollback) { write_line(rollback_line(log, rollback)); };
  return events;
}

// Evaluates before and after at least, if there is something to evaluate on.
bool settle_evaluation(train::TrainOptions& options, train::Objective& objective) {
  const bool evaluates = options.evaluate_sequences > 0 && objective.evaluation_count() > 0;
  if (!evaluates) options.evaluate_every = 0;
  if (evaluates && options.evaluate_every == 0) options.evaluate_every = options.steps;
  return evaluates;
}

void say_improvement(LogFormat log, double before, const train::Evaluation& after) {
  if (const auto& preferences = after.preferences) {
    return note(log,
                "evaluation loss before {:.4f}, after {:.4f} (of {:.1f}% of the pairs the chosen answer is preferred, "
                "by {:.4f} in the mean)",
                before, after.loss, 100 * preferences->accuracy, preferences->margin());
  }
  note(log, "evaluation loss before {:.4f}, after {:.4f} (perplexity {:.1f} before, {:.1f} after)", before, after.loss,
       std::exp(before), std::exp(after.loss));
}

// A run whose model is of no use does not end well. It is there all the same, for who wants to see.
void check_outcome(const train::TrainOptions& options, const train::TrainState& state, double loss,
                   const std::string& out) {
  if (std::isfinite(loss) && state.skipped_in_a_row == 0) return;
  throw Error(ErrorKind::kInvalid,
              "Training has diverged: {}. The model in {} is of little use. Lower learning_rate (now {:.3g}), or "
              "lengthen warmup_steps",
              std::isfinite(loss)
                  ? fmt::format("the last {} of {} steps were not finite", state.skipped_in_a_row, state.step)
                  : fmt::format("the evaluation's loss is {}", loss),
              out, options.learning_rate);
}

}  // namespace

int carry_out(Run run, Files& files, StopSignals& signals) {
  check(run.settings);
  const LogFormat log = log_format(run.settings.log);
  const SystemClock clock;
  const std::unique_ptr<parallel::Collectives> collectives = connect(run.peers, log);
  check_agreement(run.settings, run.resume, *collectives);
  const bool speaks = collectives->rank() == 0, goes_on = tunes(task_of(run.settings.task));
  if (speaks && !run.dry) {
    check_writable(files, run.out);
    check_writable(files, run.checkpoints);
  }
  if (run.checkpoints.empty() && run.settings.train.spike_factor > 0) {
    throw Error(ErrorKind::kInvalid,
                "spike_factor goes back to checkpoints, and this run has no place for any: give it one (a job has its "
                "CheckpointConfig), or leave spike_factor 0");
  }
  if (run.checkpoints.empty() && run.settings.train.checkpoint_every > 0 && speaks) {
    note(log, "There are no checkpoints: checkpoint_every is {}, but the job has no CheckpointConfig",
         run.settings.train.checkpoint_every);
  }
  const Descriptor place = speaks && !run.dry ? held(run.out) : Descriptor();
  if (run.resume) run.sources.checkpoints = run.checkpoints;
  Material material = prepare_material(files, run.sources, run.settings, *collectives);
  material.options.checkpoint_folder = run.checkpoints;
  material.options.memory_limit_bytes = static_cast<std::uint64_t>(run.settings.memory * (1ULL << 30));
  const bool evaluates = settle_evaluation(material.options, *material.objective);
  const train::TrainOptions& options = material.options;

  tensor::Context context(static_cast<int>(run.settings.threads));
  train::Trainer trainer(material.model.config, options, context, *collectives, *material.objective, files, clock,
                         material.text);
  if (speaks) say_sizes(log, material, run.settings, trainer, *collectives, context.threads());
  if (speaks && !evaluates) {
    note(log, "There is no evaluation: {}",
         goes_on ? "nothing is held out; give --validation, or a larger held_out"
                 : fmt::format("there is no held-out text of at least one sequence of {}; give --validation, or "
                               "for texts that are no token file a larger held_out",
                               format_count(options.length, "token")));
  }
  if (run.dry) {
    if (speaks) {
      say_step(log, context, clock, material.model.config, options, trainer, material.objective->rows(),
               collectives->size());
    }
    collectives->barrier();
    return 0;
  }
  // Checkpoints have all of a model that is trained whole; of adapters they have only these.
  const bool frozen = trainer.model().base() != nullptr;
  if (frozen) begin(trainer, material, goes_on, *collectives);
  if (run.resume && trainer.resume()) {
    if (speaks) note(log, "going on after step {}, from {}", trainer.state().step, run.checkpoints);
  } else if (!frozen) {
    begin(trainer, material, goes_on, *collectives);
  }

  AgentSocket agent(speaks ? run.agent_socket : "");
  train::Evaluation evaluation;
  const train::Events events = speaks ? events_of(run.settings, clock, agent, evaluation) : train::Events{};
  const bool trained = trainer.state().step < options.steps;  // else the run was whole already
  signals.arm();
  const train::Outcome outcome = trainer.run(signals.stop(), events);
  bool stopped = outcome == train::Outcome::kStopped;
  if (!stopped && evaluates && !trained) {
    const auto now = trainer.evaluate(signals.stop());
    stopped = !now;
    evaluation = now.value_or(evaluation);
  }
  if (speaks) {
    save_model(files, run.out, run.base.empty() ? run.sources.model : run.base, material, trainer);
    if (stopped) {
      note(log, "stopped after step {} of {}; the model as it stands is in {}", trainer.state().step, options.steps,
           run.out);
    } else {
      if (evaluates) say_improvement(log, trainer.state().first_evaluation_loss, evaluation);
      note(log, "the {} {} in {}", frozen ? "adapters" : "model", frozen ? "are" : "is", run.out);
      say_sample(log, context, trainer, material, run.settings);
    }
  }
  collectives->barrier();  // an instance that leaves early would end the others
  if (speaks && !stopped) check_outcome(options, trainer.state(), evaluates ? evaluation.loss : 0, run.out);
  return stopped ? 128 + signals.signal() : 0;
}

}  // namespace athanor::llm
