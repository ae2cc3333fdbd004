// Training, from texts to a Hugging Face checkpoint: by hand or as the program of a training job.
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include "common/clock.h"
#include "common/error.h"
#include "engine/cli/agreement.h"
#include "engine/cli/commands.h"
#include "engine/cli/console.h"
#include "engine/cli/contract.h"
#include "engine/cli/corpus.h"
#include "engine/cli/product_rate.h"
#include "engine/cli/ring_collectives.h"
#include "engine/cli/run_log.h"
#include "engine/cli/stop_signals.h"
#include "engine/data/token_sequences.h"
#include "engine/model/decoder_cached.h"
#include "engine/model/huggingface.h"
#include "engine/model/tokenizer/tokenizer_files.h"
#include "engine/model/tokenizer/utf8.h"
#include "engine/tensor/available_memory.h"
#include "engine/train/checkpoint.h"
#include "engine/train/trainer.h"

namespace athanor::llm {

namespace {

constexpr std::int64_t kConnectTimeout_ms = 300'000;
// The others wait while rank 0 makes the tokens; that a peer is gone is noticed long before, by its connection.
constexpr std::int64_t kSilenceTimeout_ms = 6 * 3'600'000;
constexpr double kBeatEvery_s = 0.25;

// All that a run needs to know, wherever it was told.
struct Run {
  TrainSettings settings;
  CorpusOptions corpus;
  std::string model;        // folder to leave the model in
  std::string checkpoints;  // folder; may be empty
  bool resume = false;
  bool dry = false;
  Peers peers;
  std::string agent_socket;
};

const char* environment(const char* name) { return std::getenv(name); }

void apply_options(const TrainCommand& command, TrainSettings& settings) {
  const std::vector<Setting> table = table_of(settings);
  for (const auto& [name, value] : command.settings) {
    for (const Setting& setting : table) {
      if (setting.name == name) set(setting, value, "Option " + name);
    }
  }
}

Run run_of_job(const TrainCommand& command, const Contract& contract) {
  Run run;
  apply_hyperparameters(table_of(run.settings), contract.hyperparameters());
  apply_options(command, run.settings);
  const auto train = contract.channel("train");
  if (!train) {
    throw Error(ErrorKind::kInvalid,
                "The job has no channel \"train\": give one with the texts, and optionally \"validation\" and \"tokenizer\"");
  }
  run.corpus.train = {*train};
  if (const auto validation = contract.channel("validation")) run.corpus.held_out = {*validation};
  run.corpus.tokenizer = contract.channel("tokenizer").value_or("");
  run.model = contract.model();
  run.checkpoints = contract.checkpoints(environment);
  run.resume = true;
  run.peers = peers_of(environment, contract.resources());
  const char* socket = environment("ATHANOR_SOCKET");
  run.agent_socket = socket ? socket : "";
  run.dry = command.dry_run;
  return run;
}

Run run_by_hand(const TrainCommand& command, Files& files) {
  Run run;
  apply_options(command, run.settings);
  run.peers = peers_of(environment, {});
  if (run.peers.rank == 0 && command.text.empty()) throw Error(ErrorKind::kInvalid, "There is no text to train on: give --text FILE");
  run.dry = command.dry_run;
  if (command.out.empty() && !run.dry) throw Error(ErrorKind::kInvalid, "There is no place for the model: give --out DIR");
  run.corpus.train = command.text;
  run.corpus.held_out = command.validation;
  run.corpus.tokenizer = command.tokenizer;
  run.model = command.out;
  run.checkpoints = command.checkpoints.empty() ? command.out + "/checkpoints" : command.checkpoints;
  run.resume = command.resume;
  if (!run.resume && !run.dry && run.peers.rank == 0) {
    if (const auto found = train::list_checkpoints(files, run.checkpoints); !found.empty()) {
      throw Error(ErrorKind::kConflict, "{} has a run's {}: give --resume to go on with it, or another --out",
                  run.checkpoints, found.front());
    }
  }
  return run;
}

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

void say_sizes(LogFormat log, const model::Config& c, const Corpus& corpus, const data::TokenSequences& sequences, const TrainSettings& s,
               const train::Trainer& trainer, const parallel::Collectives& collectives, int threads) {
  write_line(start_line(log, {.parameters = model::parameter_count(c),
                              .tokens = corpus.train->count(),
                              .steps = s.train.steps,
                              .batch = s.train.batch,
                              .length = s.train.length,
                              .ranks = collectives.size(),
                              .threads = threads,
                              .memory_bytes = trainer.memory().bytes()}));
  note(log, "text        {} tokens to train on, {} held out; vocabulary {}", format_count(corpus.train->count()),
      format_count(corpus.held_out ? corpus.held_out->count() : 0), format_count(c.vocab_size));
  note(log, "model       {} parameters: {} layers, width {}, {} heads ({} for keys and values) of {}, feed-forward {}",
      format_count(model::parameter_count(c)), c.num_hidden_layers, c.hidden_size, c.num_attention_heads,
      c.num_key_value_heads, c.head_dim, c.intermediate_size);
  note(log, "training    {} steps of {} sequences of {} tokens ({:.2f} times the text), on {} rank{} with {} thread{} each",
      format_count(s.train.steps), s.train.batch, s.train.length,
      static_cast<double>(s.train.steps) * static_cast<double>(s.train.batch) / static_cast<double>(sequences.windows()),
      collectives.size(),
      collectives.size() == 1 ? "" : "s", threads, threads == 1 ? "" : "s");
  note(log, "memory of each rank, all of it taken before the first step:\n{}", trainer.memory().table());
}

// What a step takes, by the rate at which this machine makes products of its type just now. What is computed again comes on
// top of the operations; what is no product, and the waiting of ranks, on top of the time.
void say_step(LogFormat log, tensor::Context& context, const Clock& clock, const model::Config& config,
              const train::TrainOptions& options, int ranks) {
  constexpr double kMeasure_s = 0.5;
  const double rate = product_rate(context, train::dtype_of(options.dtype), clock, kMeasure_s);
  const double operations = model::training_flops_per_token(config, options.length) *
                            static_cast<double>(options.batch) * static_cast<double>(options.length);
  const double step_s = operations / ranks / rate;
  note(log, "a step      {:.3g} floating-point operations over all ranks; at the {:.3g} a second that products of {} make here, "
       "{:.3g} s or more, and {:.3g} s for {} steps", operations, rate, options.dtype, step_s,
       step_s * static_cast<double>(options.steps), options.steps);
}

// Which sequences come next, but for the text.
train::TrainInput position_of(const train::TrainOptions& options) {
  return {.batch = options.batch, .length = options.length, .seed = options.seed, .text = {}};
}

// A text in the model's own words, on standard output.
void say_sample(LogFormat log, tensor::Context& context, train::Trainer& trainer, const model::Config& config,
                const model::Tokenizer& tokenizer, const TrainSettings& settings) {
  std::vector<model::TokenId> prompt = tokenizer.encode(settings.prompt);
  if (prompt.empty()) prompt.push_back(tokenizer.end_of_text().value_or(0));
  if (settings.sample_tokens == 0 || static_cast<std::int64_t>(prompt.size()) >= config.max_position_embeddings) return;
  tensor::MemoryPlan plan;
  model::CachedDecoder decoder(context, trainer.parameters(), {.length_max = config.max_position_embeddings}, plan);
  plan.allocate(tensor::available_memory_bytes(), "A smaller length needs less for a sample; sample_tokens 0 leaves it out");
  std::vector<model::TokenId> written;
  model::generate(decoder, prompt, config.vocab_size,
                  {.tokens = settings.sample_tokens, .temperature = settings.temperature, .seed = settings.train.seed,
                   .end_of_text = tokenizer.end_of_text()},
                  [&](model::TokenId token) { return written.push_back(token), true; });
  note(log, "sample:\n{}{}", settings.prompt, model::utf8_repaired(tokenizer.decode(written)));
}

// A run that trains for hours must not find out at its end that its result has no place.
void check_writable(Files& files, const std::string& folder) {
  if (folder.empty()) return;
  train::make_durable_folders(files, folder);
  if (::access(folder.c_str(), W_OK | X_OK) == 0) return;
  throw Error(ErrorKind::kDenied, "Nothing can be written to {}: {}. Give another folder", folder, std::strerror(errno));
}

void save_model(Files& files, const std::string& folder, const model::Config& config, const model::Tokenizer& tokenizer,
                train::Trainer& trainer) {
  files.make_folders(folder);
  model::save_tokenizer(files, folder, tokenizer, config.max_position_embeddings);
  model::save_huggingface(
      files, folder, {.config = config, .end_of_text = tokenizer.end_of_text(), .begin_of_text = tokenizer.end_of_text()}, trainer.parameters());
}

// What is said while it trains, and sent to the agent. Rank 0 speaks for all.
train::Events events_of(const TrainSettings& settings, const Clock& clock, AgentSocket& agent, double& last_loss) {
  train::Events events;
  const LogFormat log = log_format(settings.log);
  events.on_step = [&, log, beaten_s = -kBeatEvery_s](const train::Progress& p) mutable {
    const bool last = p.step == p.steps;
    if (p.step == 1 || last || p.skipped || p.step % settings.log_every == 0) write_line(step_line(log, p));
    const double now_s = static_cast<double>(clock.monotonic_ns()) * 1e-9;
    if (last || now_s - beaten_s >= kBeatEvery_s) {
      beaten_s = now_s;
      agent.beat(p.step, p.steps, p.loss, p.tokens_per_s, p.seconds_left);
    }
  };
  events.on_evaluation = [&, log](std::int64_t step, double loss) {
    last_loss = loss;
    write_line(evaluation_line(log, step, loss));
  };
  events.on_checkpoint = [&, log](const std::string& name, std::int64_t step) {
    write_line(checkpoint_line(log, name, step));
    agent.checkpoint(name, step);
  };
  events.on_rollback = [log](const train::Rollback& rollback) { write_line(rollback_line(log, rollback)); };
  return events;
}

int carry_out(Run run, Files& files, StopSignals& signals) {
  check(run.settings);
  const LogFormat log = log_format(run.settings.log);
  const SystemClock clock;
  const std::unique_ptr<parallel::Collectives> collectives = connect(run.peers, log);
  check_agreement(run.settings, run.resume, *collectives);
  const bool speaks = collectives->rank() == 0;
  if (speaks && !run.dry) {
    check_writable(files, run.model);
    check_writable(files, run.checkpoints);
  }
  run.corpus.vocabulary = run.settings.vocabulary;
  run.corpus.held_out_part = run.settings.held_out;
  if (speaks && run.resume && !run.checkpoints.empty()) {
    run.corpus.kept_tokenizer =
        train::find_tokenizer(files, run.checkpoints, position_of(run.settings.train)).value_or("");
  }
  const Corpus corpus = prepare_corpus(files, run.corpus, *collectives);

  const model::Config config = model_config(run.settings, corpus.tokenizer.vocabulary());
  train::TrainOptions options = run.settings.train;
  options.checkpoint_folder = run.checkpoints;
  options.memory_limit_bytes = static_cast<std::uint64_t>(run.settings.memory * (1ULL << 30));
  data::TokenSequences sequences(corpus.train, corpus.held_out,
                                 {.length = options.length, .batch = options.batch, .seed = options.seed});
  const bool evaluates = options.evaluate_sequences > 0 && sequences.evaluation_count(options.length) > 0;
  if (!evaluates) options.evaluate_every = 0;
  if (evaluates && options.evaluate_every == 0) options.evaluate_every = options.steps;
  tensor::Context context(static_cast<int>(run.settings.threads));
  train::TrainText text{.tokenizer = run.corpus.kept_tokenizer, .tokens = corpus.train->count(), .fingerprint = ""};
  if (text.tokenizer.empty()) text.tokenizer = model::pack_tokenizer(corpus.tokenizer);
  if (speaks) text.fingerprint = corpus.train->fingerprint();
  train::Trainer trainer(config, options, context, *collectives, sequences, files, clock, std::move(text));
  if (speaks) say_sizes(log, config, corpus, sequences, run.settings, trainer, *collectives, context.threads());
  if (speaks && !evaluates) note(log, "There is no evaluation: the held-out text has not one sequence of {} tokens", options.length);

  if (run.dry) {
    if (speaks) say_step(log, context, clock, config, options, collectives->size());
    collectives->barrier();
    return 0;
  }
  if (run.resume && trainer.resume()) {
    if (speaks) note(log, "going on after step {}, from {}", trainer.state().step, run.checkpoints);
  } else {
    trainer.initialize();
  }

  AgentSocket agent(speaks ? run.agent_socket : "");
  double evaluation_loss = 0;
  const train::Events events = speaks ? events_of(run.settings, clock, agent, evaluation_loss) : train::Events{};
  const bool trained = trainer.state().step < options.steps;  // else the run was whole already
  signals.arm();
  const train::Outcome outcome = trainer.run(signals.stop(), events);
  const bool stopped = outcome == train::Outcome::kStopped;
  if (!stopped && evaluates && !trained) evaluation_loss = trainer.evaluate();
  if (speaks) {
    save_model(files, run.model, config, corpus.tokenizer, trainer);
    if (stopped) {
      note(log, "stopped after step {} of {}; the model as it stands is in {}", trainer.state().step, options.steps, run.model);
    } else {
      if (evaluates) {
        const double before = trainer.state().first_evaluation_loss;
        note(log, "evaluation loss before {:.4f}, after {:.4f} (perplexity {:.1f} before, {:.1f} after)", before, evaluation_loss,
            std::exp(before), std::exp(evaluation_loss));
      }
      note(log, "the model is in {}", run.model);
      say_sample(log, context, trainer, config, corpus.tokenizer, run.settings);
    }
  }
  collectives->barrier();  // an instance that leaves early would end the others
  return stopped ? 128 + signals.signal() : 0;
}

}  // namespace

int train_model(const TrainCommand& command) {
  SystemFiles files;
  const Contract contract(files, command.contract);
  const bool by_contract = command.text.empty() && command.out.empty() && contract.present();
  StopSignals signals;
  try {
    return carry_out(by_contract ? run_of_job(command, contract) : run_by_hand(command, files), files, signals);
  } catch (const std::exception& error) {
    if (by_contract) contract.fail(error.what());
    throw;
  }
}

}  // namespace athanor::llm
