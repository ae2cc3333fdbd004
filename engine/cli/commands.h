// What the commands of athanor-llm do. Each returns the exit code and throws athanor::Error; athanor_llm_main.cc reads
// the command line and says what went wrong.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/cli/requests.h"
#include "engine/cli/settings.h"
#include "engine/model/generate.h"

namespace athanor::llm {

// Of `train`, and of `pretrain`, `finetune` and `dpo`, which are `train` with the task fixed.
struct TrainCommand {
  std::string task;                     // empty: as the settings say
  std::string model;                    // to be fine-tuned, or whose shape is taken
  std::vector<std::string> text;        // files and folders, or one token file
  std::vector<std::string> validation;  // likewise
  std::string tokenizer;                // folder or file
  std::string chat_template;            // file
  std::string out;                      // folder
  std::string checkpoints;              // folder; OUT/checkpoints when empty
  bool resume = false;
  bool dry_run = false;  // say what would be done, and end
  std::string contract;  // folder that stands for /opt/ml, used when neither `text` nor `out` is given; empty: none
  // As given on the command line, over a job's hyperparameters: (name, value).
  std::vector<std::pair<std::string, std::string>> settings;
};
int train_model(const TrainCommand& command);

struct EvaluateCommand {
  std::string model;              // a Hugging Face folder, or a file: GGUF, llama2.c
  std::string tokenizer;          // a folder or file; empty: the model's own
  std::string adapter;            // a folder with adapters to merge into it; empty: none
  std::vector<std::string> text;  // either this
  std::string choices;            // or this, see choices.h
  std::int64_t length = 0;        // 0: the model's context
  std::int64_t stride = 0;        // 0: the length
  std::int64_t batch = 8;
  std::int64_t threads = 0;
  bool json = false;
};
int evaluate(const EvaluateCommand& command);

struct GenerateCommand {
  std::string model;      // likewise
  std::string tokenizer;  // likewise
  std::string adapter;    // likewise
  RequestOptions requests;
  std::vector<std::string> stop;
  model::GenerateOptions options;
  std::int64_t batch = 8;
  std::int64_t threads = 0;
  bool json = false;
};
int generate(const GenerateCommand& command);

struct MergeCommand {
  std::string model;    // likewise
  std::string adapter;  // a folder with adapters
  std::string out;      // folder
  std::string dtype = "float32";
};
int merge(const MergeCommand& command);

struct BenchCommand {
  std::string shape = "smollm2-135m";
  bool products = false;    // measure only the machine's matrix products
  bool table = false;       // show where the memory is, on standard error
  bool operators = false;   // show where the time of a step goes
  bool json = false;        // that too as JSON, as all else is
  std::string save;         // folder to leave the initial model in; may be empty
  std::string checkpoints;  // folder for them, as often as the settings say; empty: none
  std::vector<std::pair<std::string, std::string>> settings;  // as TrainCommand's
};
int bench(const BenchCommand& command);
// What bench takes where nothing is said, for a shape. Throws kInvalid for one that there is not.
TrainSettings bench_settings(const std::string& shape);

struct ConvertCommand {
  std::string model;      // likewise
  std::string tokenizer;  // likewise
  std::string out;        // a folder
  std::string dtype = "float32";
};
int convert(const ConvertCommand& command);

struct TokenizerTrainCommand {
  std::vector<std::string> text;
  std::int64_t vocabulary = 4096;
  std::string out;
};
int train_tokenizer(const TokenizerTrainCommand& command);

struct EncodeCommand {
  std::vector<std::string> text;
  std::string tokenizer;
  std::string out;
};
int encode(const EncodeCommand& command);

}  // namespace athanor::llm
