// athanor-llm: the engine's command line. Here options are declared and read; what they do is in commands.h.
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/log.h"
#include "engine/cli/commands.h"
#include "engine/cli/console.h"
#include "engine/cli/weight_type.h"
#include "engine/tensor/context.h"

namespace {

using namespace athanor;
using namespace athanor::llm;

using Action = std::function<int()>;

constexpr const char* kFooter = R"text(
The first minutes:
  athanor-llm pretrain --text book.txt --out my-model --steps 200
  athanor-llm eval --model my-model --text other-book.txt
  athanor-llm generate --model my-model --prompt "Once upon a time"
  athanor-llm finetune --model SmolLM2-135M-Instruct --data chats.jsonl --out my-assistant
  athanor-llm dpo --model my-assistant --data preferences.jsonl --out my-better-assistant

`athanor-llm COMMAND --help` tells all of a command. Models are Hugging Face checkpoints: `transformers` loads them.

Exit codes: 0 done; 1 failed; 2 wrong command line or input; 130, 143 and 129 stopped by Ctrl-C, SIGTERM and a hang-up.)text";

constexpr const char* kPretrainFooter = R"text(
Texts are UTF-8 files, or folders of them; each file is a text that ends with <|endoftext|>. Instead of texts, one token
file that `athanor-llm tokenize encode` made, with its --tokenizer.

Examples:
  athanor-llm pretrain --text book.txt --out my-model
      a model of 3 million parameters, from a tokenizer of its own; the end of the text is kept for evaluation
  athanor-llm pretrain --text texts/ --validation other.txt --out my-model --layers 8 --hidden-size 512 --steps 2000
  athanor-llm pretrain --model Qwen3-0.6B --text texts/ --out my-model --length 512
      the shape and the tokenizer of a model that there is, with new weights: only its config.json and tokenizer are read
  athanor-llm pretrain --text texts/ --out my-model --resume
      goes on from the newest checkpoint, as if it had never stopped
)text";

constexpr const char* kFinetuneFooter = R"text(
Data are files, or folders of them. In .jsonl files (.ndjson, .json) each line is an example, one of
  {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}
      laid out by the model's chat template; learnt are the answers, each with the token that ends it. Answers may call tools
      ("tool_calls"), and beside the messages may stand "tools" (a list of JSON schemas) and "chat_template_kwargs"
  {"prompt": "2+2=", "completion": "4"}       as they are; learnt is the completion, and that the text ends there
  {"text": "Once upon a time"}                learnt whole
and any other file is a text, learnt whole. Examples are packed into sequences of --length tokens and do not see each
other. An example that is longer loses its end; a text is cut into several.

Examples:
  athanor-llm finetune --model SmolLM2-135M-Instruct --data chats.jsonl --out my-assistant
      3 times through the chats; every 20th is held out and tells how much better the model has become
  athanor-llm finetune --model smollm2.gguf --data chats.jsonl --validation others.jsonl --out my-assistant --epochs 1
  athanor-llm finetune --model my-model --data notes/ --out my-model-2 --steps 200 --learning-rate 1e-4
  athanor-llm finetune --model SmolLM2-135M --chat-template chatml.jinja --data chats.jsonl --out my-assistant
      teaches a base model, which has no chat template, to answer
  athanor-llm finetune --model SmolLM2-135M-Instruct --data chats.jsonl --out my-assistant --resume
      goes on from the newest checkpoint, as if it had never stopped
  athanor-llm finetune --model llama-2-7b --data chats.jsonl --out my-adapters --lora-rank 16 --base-dtype q4_0
      freezes the model, kept in 4 bits, and trains adapters on its layers (QLoRA); athanor-llm merge puts them together

OUT becomes a Hugging Face checkpoint; the files of the tokenizer are the model's own, byte for byte. With --lora-rank it
becomes a folder with adapters as PEFT writes and loads them, and --learning-rate is 2e-4 unless given.
)text";

constexpr const char* kDpoFooter = R"text(
Direct preference optimisation: the model learns to give the chosen answer more probability than the rejected one, measured against
itself as it was. Data are .jsonl files, or folders of them; each line is a pair of answers to one prompt, one of
  {"prompt": "2+2=", "chosen": "4", "rejected": "5"}
      as they are, each ended by the end of a text
  {"prompt": [{"role": "user", "content": "Hi"}], "chosen": [{"role": "assistant", "content": "Hello!"}], "rejected": [...]}
      laid out by the model's chat template
  {"chosen": ..., "rejected": ...}            texts or messages; the prompt is what both begin with
An answer that is longer than --length tokens with its prompt loses its end. --batch and --micro-batch count pairs.

Progress tells the loss, in how many of the pairs the chosen answer has the larger reward (accuracy), the mean difference (margin),
and the mean rewards of chosen and rejected answers. A reward is --beta times the logarithm of how much likelier the answer
has become. The loss begins at 0.693.

Examples:
  athanor-llm dpo --model my-assistant --data preferences.jsonl --out my-better-assistant
      once through the pairs; every 20th is held out and tells how much better the model has become
  athanor-llm dpo --model my-assistant --data preferences.jsonl --validation others.jsonl --out better --beta 0.3 --epochs 2
  athanor-llm dpo --model my-assistant --data preferences.jsonl --out better --resume
      goes on from the newest checkpoint, as if it had never stopped
  athanor-llm dpo --model llama-2-7b --data preferences.jsonl --out my-adapters --lora-rank 16 --base-dtype q4_0
      freezes the model, kept in 4 bits, and trains adapters on its layers; athanor-llm merge puts them together

OUT becomes a Hugging Face checkpoint, or with --lora-rank a folder with adapters as PEFT writes and loads them; --learning-rate is
then 1e-5 unless given.
)text";

constexpr const char* kMachinesFooter = R"text(
On several machines: the same command on each, with ATHANOR_WORLD_SIZE (how many), ATHANOR_RANK (0 to how many less one)
and ATHANOR_RENDEZVOUS (HOST:PORT of rank 0) in the environment. Rank 0 reads the files and leaves the model. How many
there are changes the losses by rounding only.
)text";

constexpr const char* kJobFooter = R"text(
As the program of a training job: {}
/opt/ml/input/config/hyperparameters.json, whose keys are the options above spelled like hidden_size. With the
hyperparameter task=pretrain, which is the default, the channels are train, and optionally validation, tokenizer, and model
for a shape; with task=finetune or task=dpo they are model and train, and optionally validation and tokenizer. The model is left
in /opt/ml/model, checkpoints in /opt/ml/checkpoints.
)text";

constexpr const char* kStopFooter = R"text(
Ctrl-C or SIGTERM: after the micro-batch, a checkpoint and the model as it stands are written.)text";

std::string dashed(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

// Those of the settings that matter to a command as its options, which come into `given` as (name, value).
template <class Matters>
void add_settings(CLI::App& command, TrainSettings defaults, const Matters& matters,
                  std::vector<std::pair<std::string, std::string>>& given) {
  for (const Setting& setting : table_of(defaults)) {
    if (!matters(setting)) continue;
    command
        .add_option_function<std::string>(
            "--" + dashed(setting.name),
            [&given, name = setting.name](const std::string& value) { given.emplace_back(name, value); }, setting.help)
        ->type_name(type_name(setting))
        ->default_str(value_text(setting))
        ->group(setting.group);
  }
}

// `train`, or with a task `pretrain`, `finetune` or `dpo`, which have the options that matter to them.
void add_training(CLI::App& app, const std::string& task, const char* description, const std::string& footer,
                  TrainCommand& options, Action& action) {
  CLI::App* command = app.add_subcommand(task.empty() ? "train" : task, description);
  const Task known = task.empty() ? Task::kPretrain : task_of(task);
  const bool goes_on = tunes(known);
  options.task = task;
  command
      ->add_option(
          "--model", options.model,
          goes_on ? "What to fine-tune: a folder with a Hugging Face checkpoint, or a GGUF or llama2.c file"
          : task.empty()
              ? "What to fine-tune (with --task finetune or dpo), or a model whose shape and tokenizer are taken"
              : "A model whose shape and tokenizer are taken, in place of the options below; its weights are not")
      ->type_name("PATH");
  command->add_option(goes_on ? "--data,--text" : "--text,--data", options.text, "What to train on")
      ->type_name("PATH...");
  command
      ->add_option("--validation", options.validation,
                   "What to evaluate on (default: a part of the data, see --held-out)")
      ->type_name("PATH...");
  command
      ->add_option("--tokenizer", options.tokenizer,
                   goes_on ? "Folder with a tokenizer, or its file (default: the model's own)"
                           : "Folder with a tokenizer, or its file: tokenizer.json, .model, .bin (default: one is "
                             "trained on --text)")
      ->type_name("PATH");
  if (goes_on || task.empty()) {
    command
        ->add_option("--chat-template", options.chat_template,
                     "Jinja template that lays out chats, where a model goes on learning (default: its own)")
        ->type_name("FILE");
  }
  command->add_option("--out", options.out, "Folder for the model, or for adapters; not where --model is")
      ->type_name("DIR");
  command->add_option("--checkpoints", options.checkpoints, "Folder for checkpoints (default: OUT/checkpoints)")
      ->type_name("DIR");
  command->add_flag("--resume", options.resume, "Go on from the newest checkpoint, if there is one");
  command->add_flag("--dry-run", options.dry_run, "Only say what it would take: memory, operations and time of a step");
  if (task.empty()) {
    options.contract = "/opt/ml";
    command->add_option("--contract", options.contract, "Folder of a training job's files")
        ->type_name("DIR")
        ->capture_default_str();
  }
  const auto matters = [&](const Setting& setting) {
    if (task.empty()) return true;
    if (setting.group == kModelGroup) return !goes_on;
    if (setting.group == kPreferencesGroup) return known == Task::kDpo;
    return setting.name != "task" && (setting.name != "z_loss" || known != Task::kDpo);
  };
  add_settings(*command, default_settings(known), matters, options.settings);
  command->footer(footer);
  command->callback([&] { action = [&] { return train_model(options); }; });
}

void add_trainings(CLI::App& app, TrainCommand& pretrain, TrainCommand& finetune, TrainCommand& dpo,
                   TrainCommand& train, Action& action) {
  const std::string machines = kMachinesFooter, stop = kStopFooter;
  const std::string by_job =
      fmt::format(kJobFooter, "`athanor submit --image athanor/llm` runs `athanor-llm train`, which reads");
  const std::string as_job = fmt::format(kJobFooter, "without --text and --out it reads");
  add_training(app, "pretrain", "Train a model on texts, from nothing", kPretrainFooter + machines + by_job + stop,
               pretrain, action);
  add_training(app, "finetune", "Let a model go on learning: from chats, prompts and completions, or texts",
               kFinetuneFooter + machines + by_job + stop, finetune, action);
  add_training(app, "dpo", "Let a model learn which answers are better, from pairs of them",
               kDpoFooter + machines + by_job + stop, dpo, action);
  add_training(app, "", "What a training job runs: any of these, as its hyperparameter task says",
               "\nExamples:\n  athanor-llm train\n  athanor-llm train --contract folder-like-opt-ml\n\n"
               "By hand it is `athanor-llm pretrain`, with --task finetune `athanor-llm finetune`, with --task dpo "
               "`athanor-llm dpo`; their help tells more.\n" +
                   as_job + stop,
               train, action);
}

void add_bench(CLI::App& app, BenchCommand& options, Action& action) {
  CLI::App* command = app.add_subcommand("bench", "Time training steps of a shape, on random weights and tokens");
  command->add_option("--shape", options.shape, "smollm2-135m, llama2-7b or small; the options below change it")
      ->type_name("NAME")
      ->capture_default_str();
  command->add_flag("--products", options.products, "Only measure how fast this machine makes matrix products");
  command->add_flag("--table", options.table, "Also show where the memory is, on standard error");
  command->add_flag("--operators", options.operators,
                    "Show where a step's time goes, against what this machine could do at best");
  command->add_flag("--json", options.json, "Print JSON with --operators too, not a table");
  command
      ->add_option("--save", options.save, "Folder for the initial model, so that another program can train the same")
      ->type_name("DIR");
  command
      ->add_option("--checkpoints", options.checkpoints,
                   "Folder for checkpoints (default: none), see --checkpoint-every")
      ->type_name("DIR");
  const auto matters = [](const Setting& setting) {
    const std::string_view others[] = {kPreferencesGroup, kEvaluationGroup, kProgressGroup, kSampleGroup};
    return std::ranges::find(others, setting.group) == std::end(others) && setting.name != "task" &&
           setting.name != "epochs";
  };
  add_settings(*command, bench_settings(options.shape), matters, options.settings);
  command->footer(R"text(
Prints JSON: the losses, the seconds of every step, tokens a second (of the median step, without the first), and the memory
that was taken at most, and after the first and the last step. With --operators a table instead: what each operator of a step does, how long it takes, and what part
that is of the speed at which large matrix products, or the memory, would let it run.
Unless --micro-batch is given, a step is a single micro-batch.

Example:
  athanor-llm bench --dtype bfloat16 --optimizer adamw8)text");
  command->callback([&] { action = [&] { return bench(options); }; });
}

// What a command is given to work with.
void add_model(CLI::App& command, std::string& model, std::string& tokenizer) {
  command.add_option("--model", model, "Folder with a Hugging Face checkpoint, or a GGUF or llama2.c file")
      ->type_name("PATH")
      ->required();
  command.add_option("--tokenizer", tokenizer, "Folder with a tokenizer, or its file (default: the model's own)")
      ->type_name("PATH");
}

void add_adapter(CLI::App& command, std::string& adapter) {
  command
      .add_option("--adapter", adapter,
                  "Folder with LoRA adapters, as PEFT and fine-tuning write them, to put into the model")
      ->type_name("DIR");
}

void add_merge(CLI::App& app, MergeCommand& options, Action& action) {
  CLI::App* command = app.add_subcommand("merge", "Put LoRA adapters into the weights of their model");
  command->add_option("--model", options.model, "Folder with a Hugging Face checkpoint, or a GGUF or llama2.c file")
      ->type_name("PATH")
      ->required();
  command->add_option("--adapter", options.adapter, "Folder with the adapters, as PEFT and fine-tuning write them")
      ->type_name("DIR")
      ->required();
  command->add_option("--out,--output", options.out, "Folder for the merged model, a Hugging Face checkpoint")
      ->type_name("DIR")
      ->required();
  command->add_option("--dtype", options.dtype, kWeightTypesHelp)->type_name("TYPE")->capture_default_str();
  command->footer(
      "\nExample:\n  athanor-llm merge --model my-model --adapter my-adapter --out merged --dtype bfloat16");
  command->callback([&] { action = [&] { return merge(options); }; });
}

void add_eval(CLI::App& app, EvaluateCommand& options, Action& action) {
  CLI::App* command = app.add_subcommand("eval", "Measure how well a model predicts texts");
  add_model(*command, options.model, options.tokenizer);
  add_adapter(*command, options.adapter);
  command->add_option("--text", options.text, "UTF-8 files, or folders of them: how well are they predicted?")
      ->type_name("PATH...");
  command
      ->add_option("--choices", options.choices,
                   "Questions with several answers, a JSON object a line: how many are answered right?")
      ->type_name("FILE");
  command->add_option("--length", options.length, "Tokens that are seen at once (default: the model's context)")
      ->type_name("TOKENS");
  command
      ->add_option("--stride", options.stride,
                   "Tokens from one window of a text to the next; fewer than --length give each token more before it "
                   "(default: --length)")
      ->type_name("TOKENS");
  command->add_option("--batch", options.batch, "Windows computed at once")
      ->type_name("N")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--threads", options.threads, "Threads that compute; 0: one for each processor")
      ->type_name("N")
      ->check(CLI::Range(0, tensor::Context::kThreadsMax))
      ->capture_default_str();
  command->add_flag("--json", options.json, "Print JSON for programs");
  command->footer(R"text(
With --text: the mean loss of a token in nats, its exponential (perplexity), and bits a byte, which models with different
tokenizers can be compared by. A text of any length is read in windows.

With --choices: how often the right answer is the likeliest, and how often when likelihoods are divided by the answers'
lengths ("acc" and "acc_norm", as lm-evaluation-harness has them). A line of the file:
  {"question": "The capital of France is", "choices": ["Lyon", "Paris"], "answer": 1}

Examples:
  athanor-llm eval --model my-model --text held-out.txt
  athanor-llm eval --model my-model --text held-out.txt --length 512 --stride 256
  athanor-llm eval --model my-model --choices questions.jsonl --json)text");
  command->callback([&] { action = [&] { return evaluate(options); }; });
}

void add_generate(CLI::App& app, GenerateCommand& options, Action& action) {
  CLI::App* command = app.add_subcommand("generate", "Let a model write");
  add_model(*command, options.model, options.tokenizer);
  add_adapter(*command, options.adapter);
  // One text each time: the next word on the line is no second prompt.
  command
      ->add_option(
          "--prompt", options.requests.prompts,
          "What the text begins with ('-': standard input, but for a line break at its end); again for another text")
      ->type_name("TEXT")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command
      ->add_option("--prompts", options.requests.file,
                   "Prompts, one a line, or JSON: {\"prompt\": TEXT} or {\"messages\": [...], \"tools\": [...]}")
      ->type_name("FILE");
  command->add_flag("--chat", options.requests.chat,
                    "Prompts are what a user says: the model answers, by its chat template");
  command->add_option("--system", options.requests.system, "What the model is told before a chat; implies --chat")
      ->type_name("TEXT");
  command->add_option("--tokens,--max-tokens", options.options.tokens, "Tokens to write, at most")
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--temperature", options.options.temperature, "0: always the likeliest token; higher: bolder")
      ->type_name("NUMBER")
      ->capture_default_str();
  command->add_option("--top-k", options.options.top_k, "Choose among the k likeliest tokens; 0: all")
      ->type_name("K")
      ->capture_default_str();
  command
      ->add_option("--top-p", options.options.top_p, "Choose among the likeliest that together have this probability")
      ->type_name("P")
      ->capture_default_str();
  command
      ->add_option("--min-p", options.options.min_p,
                   "Choose among tokens at least so likely as this part of the likeliest")
      ->type_name("P")
      ->capture_default_str();
  command
      ->add_option("--repetition-penalty", options.options.repetition_penalty,
                   "Above 1: what was there before becomes less likely")
      ->type_name("NUMBER")
      ->capture_default_str();
  command->add_option("--stop", options.stop, "End before this text; again for another")
      ->type_name("TEXT")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--batch", options.batch, "Texts written at once, when there are several prompts")
      ->type_name("N")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--seed", options.options.seed, "The same seed writes the same text")
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--threads", options.threads, "Threads that compute; 0: one for each processor")
      ->type_name("N")
      ->check(CLI::Range(0, tensor::Context::kThreadsMax))
      ->capture_default_str();
  command->add_flag("--json", options.json, "Print JSON for programs, a line for each text");
  command->footer(R"text(
The text is printed as it is written; of several, the first, and then the next. Weights stay as small in memory as they are in
the model's files. A line of JSON has the prompt or the messages, the new text and its tokens, why it ended ("end": end_of_text,
tokens, context, stop) and the seconds since writing began.

Examples:
  athanor-llm generate --model my-model --prompt "In the beginning" --tokens 200
  athanor-llm generate --model SmolLM2-135M-Instruct.gguf --system "Be brief." --prompt "What is an athanor?"
  athanor-llm generate --model my-model --prompts questions.txt --chat --batch 16 --json
  athanor-llm generate --model my-model --prompt "In the beginning" --temperature 0
  athanor-llm generate --model stories260K.bin --tokenizer tok512.bin --prompt "Once upon a time" --temperature 0)text");
  command->callback([&] { action = [&] { return generate(options); }; });
}

void add_convert(CLI::App& app, ConvertCommand& options, Action& action) {
  CLI::App* command = app.add_subcommand("convert", "Write any model as a Hugging Face checkpoint");
  add_model(*command, options.model, options.tokenizer);
  command->add_option("--out", options.out, "Folder for the checkpoint, new or empty")->type_name("DIR")->required();
  command->add_option("--dtype", options.dtype, kWeightTypesHelp)->type_name("TYPE")->capture_default_str();
  command->footer(R"text(
Writes config.json, generation_config.json, safetensors and the tokenizer's files, which `transformers` loads. Quantized weights
become the numbers that they stand for.

Examples:
  athanor-llm convert --model SmolLM2-135M-Instruct.gguf --out SmolLM2-135M-Instruct
  athanor-llm convert --model stories260K.bin --tokenizer tok512.bin --out stories260K
  athanor-llm convert --model my-model --out my-model-small --dtype bfloat16)text");
  command->callback([&] { action = [&] { return convert(options); }; });
}

void add_tokenize(CLI::App& app, TokenizerTrainCommand& learn, EncodeCommand& write, Action& action) {
  CLI::App* command = app.add_subcommand("tokenize", "Train a tokenizer, or write texts as tokens");
  command->require_subcommand(1);
  CLI::App* train = command->add_subcommand("train", "Train a byte-level BPE tokenizer on texts");
  train->add_option("--text", learn.text, "UTF-8 files, or folders of them")->type_name("PATH...")->required();
  train->add_option("--vocabulary", learn.vocabulary, "Tokens, at most: 256 bytes, <|endoftext|>, the rest learned")
      ->type_name("N")
      ->check(CLI::Range(257, 1 << 22))
      ->capture_default_str();
  train->add_option("--out", learn.out, "Folder for tokenizer.json and tokenizer_config.json")
      ->type_name("DIR")
      ->required();
  train->footer("\nExample:\n  athanor-llm tokenize train --text texts/ --vocabulary 8192 --out my-tokenizer");
  train->callback([&] { action = [&] { return train_tokenizer(learn); }; });
  CLI::App* encode_command =
      command->add_subcommand("encode", "Write texts as a token file, which `pretrain --text` takes");
  encode_command->add_option("--text", write.text, "UTF-8 files, or folders of them")->type_name("PATH...")->required();
  encode_command
      ->add_option("--tokenizer", write.tokenizer, "Folder with a tokenizer, or its file: tokenizer.json, .model, .bin")
      ->type_name("PATH")
      ->required();
  encode_command->add_option("--out", write.out, "The token file")->type_name("FILE")->required();
  encode_command->footer(
      "\nExample:\n  athanor-llm tokenize encode --tokenizer my-tokenizer --text texts/ --out texts.tokens\n"
      "  athanor-llm pretrain --tokenizer my-tokenizer --text texts.tokens --out my-model");
  encode_command->callback([&] { action = [&] { return encode(write); }; });
}

// What is wrong with the command line and what to do about it, in one line.
std::string explain(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  const CLI::App* command = &app;
  std::string help = "athanor-llm";
  int first = 1;  // of the words after the command's name
  for (; !command->get_subcommands().empty(); ++first) {
    command = command->get_subcommands().front();
    help += " " + command->get_name();
  }
  help += " --help";
  std::vector<std::string> commands;
  for (const CLI::App* one : command->get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(one->get_name());
  }
  std::vector<std::string> options;
  for (const CLI::Option* option : command->get_options()) {
    for (const std::string& name : option->get_lnames()) options.push_back("--" + name);  // all that it has
  }
  if (!commands.empty() && first < argc && argv[first][0] != '-') {
    const std::string meant = nearest(argv[first], commands);
    return fmt::format("There is no command {}. {}", argv[first],
                       meant.empty() ? fmt::format("There are: {}", fmt::join(commands, ", "))
                                     : fmt::format("Did you mean {}?", meant));
  }
  if (!commands.empty() && first == argc) {
    return fmt::format("Say what to do: {}. `{}` tells more", fmt::join(commands, ", "), help);
  }
  for (int i = first; i < argc; ++i) {
    const std::string given = std::string(argv[i]).substr(0, std::string(argv[i]).find('='));
    if (!given.starts_with("--") || given == "--" ||
        std::find(options.begin(), options.end(), given) != options.end()) {
      continue;
    }
    const std::string meant = nearest(given, options);
    return fmt::format("There is no option {}. {}", given,
                       meant.empty() ? fmt::format("`{}` lists all", help) : fmt::format("Did you mean {}?", meant));
  }
  return fmt::format("{}. `{}` tells more", error.what(), help);
}

int exit_code_of(ErrorKind kind) {
  return kind == ErrorKind::kInvalid || kind == ErrorKind::kNotFound || kind == ErrorKind::kConflict ? 2 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  log::open("athanor-llm", log::Level::kInfo, "");
  CLI::App app("Athanor's engine: makes Llama-style language models, without Python.", "athanor-llm");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.set_version_flag("--version", "athanor-llm " ATHANOR_VERSION);
  app.get_formatter()->column_width(34);
  Action action;
  TrainCommand pretrain_options, finetune_options, dpo_options, train_options;
  add_trainings(app, pretrain_options, finetune_options, dpo_options, train_options, action);
  EvaluateCommand evaluate_options;
  add_eval(app, evaluate_options, action);
  GenerateCommand generate_options;
  add_generate(app, generate_options, action);
  ConvertCommand convert_options;
  add_convert(app, convert_options, action);
  MergeCommand merge_options;
  add_merge(app, merge_options, action);
  BenchCommand bench_options;
  add_bench(app, bench_options, action);
  TokenizerTrainCommand learn_options;
  EncodeCommand encode_options;
  add_tokenize(app, learn_options, encode_options, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    std::fprintf(stderr, "athanor-llm: %s\n", explain(app, error, argc, argv).c_str());
    return 2;
  }
  try {
    return action();
  } catch (const ReaderGone&) {
    return 0;
  } catch (const Error& error) {
    clear_status();
    std::fprintf(stderr, "athanor-llm: %s\n", error.what());
    return exit_code_of(error.kind());
  } catch (const std::exception& error) {
    clear_status();
    std::fprintf(stderr, "athanor-llm: %s\n", error.what());
    return 1;
  }
}
