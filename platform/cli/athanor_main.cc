// athanor: the command line of the platform. Here options are declared and read; what they do is in commands.h.
#include <fmt/format.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <functional>

#include "platform/cli/commands.h"
#include "platform/cli/exit_code.h"
#include "platform/cli/terminal.h"

namespace {

using namespace athanor;
using namespace athanor::cli;

constexpr const char* kFooter = R"text(
The first minutes:
  athanor up                                          start the server (Ctrl-C ends it; jobs go on)
  athanor submit --wait -- echo hello                 run a program as a training job, in a sandbox
  athanor submit --image athanor/llm --input train=texts/ --instances 2 --wait
  eval "$(athanor env)"; python3 my_boto3_script.py   any AWS client, unmodified
  athanor exec -- python3 my_sagemaker_script.py      one that insists on *.amazonaws.com

Which server: --data-dir, else ATHANOR_DATA_DIR, else AWS_ENDPOINT_URL with AWS keys, else ~/.athanor.

Exit codes: 0 done; 1 failed; 2 wrong command line or request; 3 no such thing; 4 in conflict; 5 no server answers;
6 denied; 10 the job waited for has failed; 11 it was stopped; 130 interrupted. `exec` returns the program's own.
)text";

void add_common(CLI::App* command, Common& common) {
  command->add_option("--data-dir", common.data_dir, "Folder of the server to speak to (default: ~/.athanor)")
      ->type_name("DIR");
}

void add_json(CLI::App* command, Common& common) {
  command->add_flag("--json", common.json, "Print JSON for programs");
}

using Action = std::function<int()>;

void add_up(CLI::App& app, UpOptions& options, Action& action) {
  CLI::App* command =
      app.add_subcommand("up", "Start the server: API, object store, logs and local instances, on one port");
  command->add_option("--data-dir", options.data_dir, "Where everything is kept (default: ~/.athanor)")
      ->type_name("DIR");
  command->add_option("--listen", options.listen, "Address and port, http and https; port 0 takes any free one")
      ->type_name("ADDRESS:PORT")
      ->capture_default_str();
  command
      ->add_option("--instances", options.instances,
                   "How many instances this machine is cut into (default: 2, or 1 on one processor)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  command
      ->add_option("--region", options.region,
                   "Region that requests must be signed for (default: the data folder's, us-east-1 in a new one)")
      ->type_name("NAME");
  command
      ->add_option(
          "--account", options.account,
          "Account number in ARNs and the bucket's name, 12 digits (default: the data folder's, zeros in a new one)")
      ->type_name("DIGITS");
  command->add_flag("-d,--detach", options.detach, "Start it in the background and return once it answers");
  command->add_flag("-v,--verbose", options.verbose, "Log every request and transition");
  command->callback([&] { action = [&] { return up(options); }; });
}

void add_submit(CLI::App& app, SubmitOptions& options, Action& action) {
  CLI::App* command = app.add_subcommand("submit", "Start a training job");
  command->add_option("PROGRAM", options.command, "After `--`: the program to run in the sandbox, and its arguments")
      ->type_name("");
  add_common(command, options.common);
  add_json(command, options.common);
  command
      ->add_option("--request", options.request_file,
                   "CreateTrainingJob request as JSON, as for `aws --cli-input-json` ('-': standard input); other "
                   "options are laid over it")
      ->type_name("FILE");
  command->add_option("--name", options.name, "Name of the job (default: made up)")->type_name("NAME");
  command
      ->add_option("--image", options.image,
                   "athanor/llm (our engine) or athanor/script (a program of yours; the default with one)")
      ->type_name("IMAGE");
  command
      ->add_option("--input", options.inputs,
                   "Channel at /opt/ml/input/data/NAME: s3://… or a local file or folder, uploaded first")
      ->type_name("NAME=SOURCE")
      ->allow_extra_args(false);
  command
      ->add_option("--input-sharded", options.sharded_inputs,
                   "Likewise, each instance getting its share of the objects")
      ->type_name("NAME=SOURCE")
      ->allow_extra_args(false);
  command->add_option("-p,--hyperparameter", options.hyperparameters, "A hyperparameter")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command->add_option("--hyperparameters", options.hyperparameters_file, "Hyperparameters, a JSON object")
      ->type_name("FILE");
  command->add_option("-e,--env", options.environment, "An environment variable of the program")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);
  command->add_option("--metric", options.metrics, "A metric to read from what the program prints")
      ->type_name("NAME=REGEX")
      ->allow_extra_args(false);
  command->add_option("-n,--instances", options.instances, "Number of instances (default: 1)")->type_name("N");
  command
      ->add_option("--instance-type", options.instance_type,
                   "SageMaker's name of it (default: ml.m5.large; here all are this machine)")
      ->type_name("TYPE");
  command->add_option("--output", options.output, "Where JOB/output/model.tar.gz goes (default: the default bucket)")
      ->type_name("s3://…");
  command->add_flag("--uncompressed", options.uncompressed, "Upload the model as files, not as model.tar.gz");
  command->add_option("--checkpoints", options.checkpoints, "Where /opt/ml/checkpoints is kept")->type_name("s3://…");
  command->add_option("--max-runtime", options.max_runtime, "Stop it after this time: 90, 15m, 2h, 1d (default: 1d)")
      ->type_name("TIME");
  command->add_option("--role", options.role, "Role of the job (default: the server's)")->type_name("ARN");
  CLI::Option* wait =
      command->add_flag("-w,--wait", options.wait, "Show its progress and what it prints until it ends");
  command->add_flag("--no-logs", options.no_logs, "With --wait: not what it prints")->needs(wait);
  command->add_flag("-f,--follow", options.follow, "Show what it prints, and nothing else, until it ends");
  command->add_flag("--dry-run", options.dry_run, "Print the request and do nothing");
  command->footer(R"text(
Examples:
  athanor submit --wait -- python3 -c 'print("hello")'
  athanor submit --input code=src/ --input train=s3://bucket/data -f -- python3 /opt/ml/input/data/code/train.py
  athanor submit --image athanor/llm --input train=corpus/ -p steps=400 -n 2 -w
  athanor submit --dry-run --image athanor/llm > job.json && aws sagemaker create-training-job --cli-input-json file://job.json)text");
  command->callback([&] { action = [&] { return submit(options); }; });
}

// Everything after the first "--" of `exec` and `submit`: the program, whatever it looks like.
std::vector<std::string> take_program(int& argc, char** argv) {
  for (int i = 2; i < argc; ++i) {
    if (std::string_view(argv[i]) != "--") continue;
    std::vector<std::string> program(argv + i + 1, argv + argc);
    argc = i;
    return program;
  }
  return {};
}

int run(int argc, char** argv) {
  const bool takes_program = argc > 1 && (std::string_view(argv[1]) == "exec" || std::string_view(argv[1]) == "submit");
  const std::vector<std::string> program = takes_program ? take_program(argc, argv) : std::vector<std::string>();

  CLI::App app("Athanor: SageMaker Training that you own.", "athanor");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.set_version_flag("--version", "athanor " ATHANOR_VERSION);
  app.get_formatter()->column_width(34);
  Action action;

  UpOptions up_options;
  add_up(app, up_options, action);

  Common down_options;
  CLI::App* down_command = app.add_subcommand("down", "End the server and every job");
  add_common(down_command, down_options);
  down_command->callback([&] { action = [&] { return down(down_options); }; });

  EnvOptions env_options;
  CLI::App* env_command = app.add_subcommand("env", "Print what an AWS client needs: eval \"$(athanor env)\"");
  add_common(env_command, env_options.common);
  add_json(env_command, env_options.common);
  env_command->add_flag("--https", env_options.secure, "The https endpoint");
  env_command->callback([&] { action = [&] { return env(env_options); }; });

  ExecOptions exec_options;
  exec_options.command = program;
  CLI::App* exec_command = app.add_subcommand("exec", "Run a client to which *.amazonaws.com is this server");
  exec_command->add_option("PROGRAM", exec_options.command, "After `--`: the program, and its arguments")
      ->type_name("");
  add_common(exec_command, exec_options.common);
  exec_command->footer(R"text(
The program's connections to any host below amazonaws.com come to the server instead, under our own certificate
authority (told to it by AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE, SSL_CERT_FILE and the like); everything else is as ever.
Works as root and as an ordinary user. Returns the program's exit code; 126 or 127 when it cannot be run.

Example:
  athanor exec -- python3 -c 'import boto3; print(boto3.client("sts").get_caller_identity()["Arn"])')text");
  exec_command->callback([&] { action = [&] { return exec(exec_options); }; });

  SubmitOptions submit_options;
  submit_options.command = program;
  add_submit(app, submit_options, action);

  ListOptions list_options;
  CLI::App* list_command = app.add_subcommand("list", "List training jobs, the newest first");
  add_common(list_command, list_options.common);
  add_json(list_command, list_options.common);
  list_command->add_option("--status", list_options.status, "Only those of this status")
      ->check(CLI::IsMember({"InProgress", "Completed", "Failed", "Stopping", "Stopped"}));
  list_command->add_option("--name-contains", list_options.name_contains, "Only those with this in their name")
      ->type_name("TEXT");
  list_command->add_option("-n,--count", list_options.count, "How many at most")
      ->type_name("N")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  list_command->callback([&] { action = [&] { return list(list_options); }; });

  DescribeOptions describe_options;
  CLI::App* describe_command = app.add_subcommand("describe", "Tell everything about a job");
  add_common(describe_command, describe_options.common);
  add_json(describe_command, describe_options.common);
  describe_command->add_option("JOB", describe_options.name, "Name of the job")->required();
  describe_command->add_flag("-w,--wait", describe_options.wait,
                             "Show its progress until it ends; the exit code tells how");
  describe_command->callback([&] { action = [&] { return describe(describe_options); }; });

  LogsOptions logs_options;
  CLI::App* logs_command = app.add_subcommand("logs", "Print what a job printed");
  add_common(logs_command, logs_options.common);
  add_json(logs_command, logs_options.common);
  logs_command->add_option("JOB", logs_options.name, "Name of the job")->required();
  logs_command->add_flag("-f,--follow", logs_options.follow, "Until it ends; the exit code tells how");
  logs_command->add_option("--host", logs_options.host, "Of one instance only")->type_name("algo-N");
  logs_command->add_flag("-t,--timestamps", logs_options.timestamps, "With the time of each line");
  logs_command->callback([&] { action = [&] { return logs(logs_options); }; });

  StopOptions stop_options;
  CLI::App* stop_command = app.add_subcommand("stop", "Stop a job; what it made is kept");
  add_common(stop_command, stop_options.common);
  add_json(stop_command, stop_options.common);
  stop_command->add_option("JOB", stop_options.name, "Name of the job")->required();
  stop_command->add_flag("-w,--wait", stop_options.wait, "Return when it has ended");
  stop_command->callback([&] { action = [&] { return stop(stop_options); }; });

  JobOptions delete_options;
  CLI::App* delete_command = app.add_subcommand("delete", "Forget a job that has ended; its name is free again");
  add_common(delete_command, delete_options.common);
  add_json(delete_command, delete_options.common);
  delete_command->add_option("JOB", delete_options.name, "Name of the job")->required();
  delete_command->callback([&] { action = [&] { return athanor::cli::remove(delete_options); }; });

  CopyOptions copy_options;
  CLI::App* copy_command = app.add_subcommand("cp", "Copy files and folders to, from and within S3");
  add_common(copy_command, copy_options.common);
  add_json(copy_command, copy_options.common);
  copy_command
      ->add_option("FROM", copy_options.from,
                   "s3://BUCKET/KEY or PREFIX, or a local file or folder; '-' is standard input")
      ->required();
  copy_command->add_option("TO", copy_options.to, "Likewise; '-' is standard output")->required();
  copy_command->add_flag("-q,--quiet", copy_options.quiet, "Say nothing but errors");
  copy_command->footer(R"text(
Examples:
  athanor cp corpus.txt s3://bucket/texts/
  athanor cp s3://bucket/job/output/model.tar.gz .
  athanor cp s3://bucket/job/output/model.tar.gz - | tar -tz
  tar -cz data | athanor cp - s3://bucket/data.tar.gz)text");
  copy_command->callback([&] { action = [&] { return copy(copy_options); }; });

  try {
    const auto is_named = [&](CLI::App* command) { return command->get_name() == argv[1]; };
    if (argc > 1 && argv[1][0] != '-' && app.get_subcommands(is_named).empty()) {
      throw CLI::ExtrasError(fmt::format("There is no command '{}'", argv[1]), CLI::ExitCodes::ExtrasError);
    }
    app.parse(argc, argv);
    if (exec_command->parsed() && exec_options.command.empty()) {
      throw CLI::RequiredError(
          "athanor exec needs a program after `--`, such as: athanor exec -- python3 train.py. A program");
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kSuccess : kUsage;
  }
  try {
    return action();
  } catch (const Error& error) {
    const Terminal aside(stderr);
    aside.line(aside.paint(Colour::kRed, "athanor: ") + aside.foreign(error.what()));
    return exit_code_of(error.kind());
  } catch (const std::exception& error) {
    const Terminal aside(stderr);
    aside.line(aside.paint(Colour::kRed, "athanor: ") + aside.foreign(error.what()));
    return kFailure;
  }
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  const int code = run(argc, argv);
  if (code != kSuccess || is_whole(stdout)) return code;
  const Terminal aside(stderr);
  aside.line(aside.paint(Colour::kRed, "athanor: ") +
             "Writing to standard output: part of it could not be written (is the disk full?).");
  return kFailure;
}
