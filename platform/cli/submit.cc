// athanor submit.
#include <fmt/format.h>

#include <chrono>
#include <ctime>
#include <iostream>
#include <iterator>

#include "common/random.h"
#include "platform/cli/commands.h"
#include "platform/cli/connection.h"
#include "platform/cli/exit_code.h"
#include "platform/cli/interrupt_note.h"
#include "platform/cli/request_builder.h"
#include "platform/cli/terminal.h"
#include "platform/cli/transfer.h"
#include "platform/cli/watch.h"

namespace athanor::cli {
namespace {

json::object read_object(Files& files, const std::string& path) {
  if (path.empty()) return {};
  const std::string text =
      path == "-" ? std::string(std::istreambuf_iterator<char>(std::cin), {}) : files.read_all(path);
  const json::value parsed = json::parse(text, path == "-" ? "standard input" : path);
  if (!parsed.is_object()) throw Error(ErrorKind::kInvalid, "Reading {}: it must hold one JSON object.", path);
  return parsed.get_object();
}

// "20261124-001328-3f2a"
std::string unique_suffix() {
  SystemRandom random;
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  return std::string(text, std::strftime(text, sizeof text, "%Y%m%d-%H%M%S-", &parts)) + random.hex(2);
}

}  // namespace

int submit(const SubmitOptions& options) {
  SystemFiles files;
  const Terminal out(stdout), aside(stderr);
  json::object base = read_object(files, options.request_file);
  const json::object hyperparameters = read_object(files, options.hyperparameters_file);
  const Place place = find_place(options.common.data_dir);
  const BuiltRequest built =
      build_request(std::move(base), hyperparameters, options, {place.role_arn, place.bucket, unique_suffix()});
  if (options.dry_run) {
    out.line(json::serialize(built.request));
    return kSuccess;
  }

  Connection connection(place);
  for (const LocalInput& input : built.uploads) {
    upload(connection.s3(), input.path, storage::S3Uri::parse(input.s3_uri), aside);
  }
  const json::object created = connection.sagemaker("CreateTrainingJob", built.request);
  const std::string name = json::get_string(built.request, "TrainingJobName");
  if (!options.wait && !options.follow) {
    if (options.common.json) {
      out.line(json::serialize(
          json::object{{"TrainingJobName", name}, {"TrainingJobArn", json::get_string(created, "TrainingJobArn")}}));
    } else {
      out.line(name);
      if (out.is_terminal()) {
        aside.line(aside.paint(Colour::kDim, "submitted; watch it with: athanor describe --wait " + name));
      }
    }
    return kSuccess;
  }
  const InterruptNote note(name);
  if (options.follow) {
    if (!options.common.json) aside.line("Job " + aside.paint(Colour::kBold, name));
    LogsOptions follow;
    follow.common = options.common;
    follow.name = name;
    follow.follow = true;
    return logs(follow);
  }
  if (options.common.json) {
    const json::object end = await_job(connection, name);
    out.line(json::serialize(end));
    return exit_code_of_job(end);
  }
  out.line("Job " + out.paint(Colour::kBold, name));
  const json::object end = watch_job(connection, name, out, !options.no_logs);
  tell_end(end, out);
  return exit_code_of_job(end);
}

}  // namespace athanor::cli
