// What is asked for, on the command line or by a training job, made into a run.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "common/error.h"
#include "engine/cli/commands.h"
#include "engine/cli/contract.h"
#include "engine/cli/model_archive.h"
#include "engine/cli/own_place.h"
#include "engine/cli/run.h"
#include "engine/cli/stop_signals.h"
#include "engine/train/checkpoint.h"

namespace athanor::llm {

namespace {

const char* environment(const char* name) { return std::getenv(name); }

// The task's defaults, over them a job's hyperparameters, over them the options.
TrainSettings settings_of(const TrainCommand& command, const json::object& hyperparameters, bool model_given) {
  const auto apply = [&](TrainSettings& settings) {
    const std::vector<Setting> table = table_of(settings);
    apply_hyperparameters(table, hyperparameters);
    for (const auto& [name, value] : command.settings) {
      for (const Setting& setting : table) {
        if (setting.name == name) set(setting, value, "Option " + name);
      }
    }
    if (!command.task.empty()) settings.task = command.task;
  };
  TrainSettings first;
  apply(first);  // which tells the task
  TrainSettings settings = default_settings(task_of(first.task));
  apply(settings);
  std::vector<std::string> given;
  for (const auto& entry : hyperparameters) given.emplace_back(entry.key());
  for (const auto& [name, value] : command.settings) given.push_back(name);
  settle(settings, given, model_given);
  if (settings.train.lora_rank > 0) {
    if (!tunes(task_of(settings.task))) {
      throw Error(ErrorKind::kInvalid,
                  "lora_rank trains adapters on a model that is there already, and pretrain begins from nothing: use "
                  "finetune or dpo, or leave it out");
    }
    // Adapters are few and begin at nothing: they learn at ten times the rate that suits a whole model.
    if (std::ranges::find(given, "learning_rate") == given.end()) settings.train.learning_rate *= 10;
  }
  return settings;
}

// What a channel with a model holds: a folder with a checkpoint, one file (also an archive), or a folder with either.
std::string model_in(Files& files, std::string folder) {
  for (int depth = 0; depth < 4 && !files.stat(folder + "/config.json").has_value(); ++depth) {
    const auto info = files.stat(folder);
    if (!info || info->type != FileInfo::Type::kFolder) break;
    const std::vector<std::string> names = files.list(folder);
    if (names.size() != 1) break;
    folder += "/" + names.front();
  }
  return folder;
}

// The job's model, unpacked where it is what an earlier job left. Only rank 0 reads it.
void take_model(Run& run, Files& files, const std::string& channel) {
  run.sources.model = model_in(files, channel);
  if (!is_model_archive(run.sources.model)) return;
  run.base = run.sources.model;
  if (run.peers.rank != 0) return;
  run.unpacked = std::make_unique<TemporaryFolder>();
  unpack_model(files, run.base, run.unpacked->path(), room_in(run.unpacked->path()));
  run.sources.model = model_in(files, run.unpacked->path());
}

Run run_of_job(const TrainCommand& command, const Contract& contract, Files& files) {
  Run run;
  const auto model = contract.channel("model");
  run.settings = settings_of(command, contract.hyperparameters(), model.has_value());
  const Task task = task_of(run.settings.task);
  const auto train = contract.channel("train");
  if (!train) {
    throw Error(ErrorKind::kInvalid, "The job has no channel \"train\": give one with {}",
                task == Task::kDpo ? "the pairs of answers to learn from, and optionally \"validation\""
                : tunes(task)      ? "the examples to learn from, and optionally \"validation\""
                                   : "the texts, and optionally \"validation\" and \"tokenizer\"");
  }
  if (tunes(task) && !model) {
    throw Error(ErrorKind::kInvalid, "The job has no channel \"model\": give one with the model to fine-tune");
  }
  run.sources.train = {*train};
  if (const auto validation = contract.channel("validation")) run.sources.held_out = {*validation};
  run.sources.tokenizer = contract.channel("tokenizer").value_or("");
  run.sources.chat_template = command.chat_template;
  run.out = contract.model();
  run.checkpoints = contract.checkpoints(environment);
  run.resume = true;
  run.peers = peers_of(environment, contract.resources());
  if (model) take_model(run, files, *model);
  run.dry = command.dry_run;
  const char* socket = environment("ATHANOR_SOCKET");
  run.agent_socket = socket ? socket : "";
  return run;
}

Run run_by_hand(const TrainCommand& command, Files& files) {
  Run run;
  run.settings = settings_of(command, {}, !command.model.empty());
  run.peers = peers_of(environment, {});
  const bool reads = run.peers.rank == 0, goes_on = tunes(task_of(run.settings.task));
  if (reads && goes_on && command.model.empty()) {
    throw Error(ErrorKind::kInvalid, "There is no model to fine-tune: give --model PATH");
  }
  if (reads && command.text.empty()) {
    throw Error(ErrorKind::kInvalid, goes_on ? "There is nothing to learn from: give --data FILE"
                                             : "There is no text to train on: give --text FILE");
  }
  run.dry = command.dry_run;
  if (command.out.empty() && !run.dry) {
    throw Error(ErrorKind::kInvalid, "There is no place for the model: give --out DIR");
  }
  // Adapters too: `transformers` would take the folder for theirs, and the model alone were no more to be had from it.
  if (reads && !command.out.empty() && !command.model.empty())
    check_own_place(command.out, "the model's", command.model);
  run.sources = {.train = command.text,
                 .held_out = command.validation,
                 .model = command.model,
                 .tokenizer = command.tokenizer,
                 .chat_template = command.chat_template,
                 .checkpoints = ""};
  run.out = command.out;
  run.checkpoints = command.checkpoints.empty() ? command.out + "/checkpoints" : command.checkpoints;
  run.resume = command.resume;
  if (!run.resume && !run.dry && reads) {
    if (const auto found = train::list_checkpoints(files, run.checkpoints); !found.empty()) {
      throw Error(ErrorKind::kConflict, "{} has a run's {}: give --resume to go on with it, or another --out",
                  run.checkpoints, found.front());
    }
    check_new_place(files, command.out);
  }
  return run;
}

}  // namespace

int train_model(const TrainCommand& command) {
  SystemFiles files;
  const Contract contract(files, command.contract);
  const bool by_contract =
      !command.contract.empty() && command.text.empty() && command.out.empty() && contract.present();
  if (!command.contract.empty() && command.text.empty() && command.out.empty() && !by_contract) {
    throw Error(ErrorKind::kNotFound,
                "There is no training job in {} (it has no input/config). Outside of one, give --text and --out",
                command.contract);
  }
  StopSignals signals;
  try {
    return carry_out(by_contract ? run_of_job(command, contract, files) : run_by_hand(command, files), files, signals);
  } catch (const std::exception& error) {
    if (by_contract) contract.fail(error.what());
    throw;
  }
}

}  // namespace athanor::llm
