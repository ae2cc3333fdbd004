// The commands of `athanor`, one function each: options in, exit code out. Errors are thrown and told by main.
// Answers go to standard output, what is only for people beside them to standard error.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace athanor::cli {

// What every command that speaks to a server takes.
struct Common {
  std::string data_dir;  // as given; empty: see find_place
  bool json = false;     // for programs: JSON, and nothing else, on standard output
};

struct UpOptions {
  std::string data_dir;
  std::string listen = "127.0.0.1:9100";
  std::int32_t instances = 0;
  std::string region;   // empty: the data folder's
  std::string account;  // likewise
  bool detach = false;
  bool verbose = false;
};
int up(const UpOptions& options);
int down(const Common& common);

struct EnvOptions {
  Common common;
  bool secure = false;  // the https endpoint
};
int env(const EnvOptions& options);

struct ExecOptions {
  Common common;
  std::vector<std::string> command;
};
int exec(const ExecOptions& options);

struct SubmitOptions {
  Common common;
  std::string request_file;  // JSON of CreateTrainingJob; "-": standard input; what follows is laid over it
  std::string name;
  std::string image;
  std::vector<std::string> command;          // ContainerEntrypoint
  std::vector<std::string> inputs;           // NAME=s3://… or NAME=PATH
  std::vector<std::string> sharded_inputs;   // likewise
  std::vector<std::string> hyperparameters;  // KEY=VALUE
  std::string hyperparameters_file;          // a JSON object
  std::vector<std::string> environment;      // KEY=VALUE
  std::vector<std::string> metrics;          // NAME=REGEX
  std::optional<std::int64_t> instances;
  std::string instance_type;
  std::string output;
  std::string checkpoints;
  std::string max_runtime;
  std::string role;
  bool uncompressed = false;
  bool dry_run = false;
  bool wait = false;
  bool no_logs = false;  // waiting, without what the program prints
  bool follow = false;
};
int submit(const SubmitOptions& options);

struct ListOptions {
  Common common;
  std::string status;
  std::string name_contains;
  std::int64_t count = 20;
};
int list(const ListOptions& options);

struct JobOptions {
  Common common;
  std::string name;
};
struct DescribeOptions {
  Common common;
  std::string name;
  bool wait = false;  // show progress until it ends
};
int describe(const DescribeOptions& options);

struct StopOptions {
  Common common;
  std::string name;
  bool wait = false;
};
int stop(const StopOptions& options);
int remove(const JobOptions& options);

struct LogsOptions {
  Common common;
  std::string name;
  std::string host;  // "algo-2"; empty: all
  bool follow = false;
  bool timestamps = false;
};
int logs(const LogsOptions& options);

struct CopyOptions {
  Common common;
  std::string from;
  std::string to;
  bool quiet = false;
};
int copy(const CopyOptions& options);

}  // namespace athanor::cli
