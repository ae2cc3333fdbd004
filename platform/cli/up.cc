// athanor up and athanor down: the server's process.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <thread>

#include "common/descriptor.h"
#include "common/descriptor_limit.h"
#include "common/log.h"
#include "platform/cli/commands.h"
#include "platform/cli/connection.h"
#include "platform/cli/exit_code.h"
#include "platform/cli/terminal.h"
#include "platform/server/server.h"

namespace athanor::cli {
namespace {

constexpr int kDetachWait_s = 30;

server::Options server_options(const UpOptions& from) {
  server::Options options;
  options.data_dir = data_dir_or_default(from.data_dir);
  const std::size_t colon = from.listen.rfind(':');
  const std::string port = from.listen.substr(colon == std::string::npos ? 0 : colon + 1);
  if (colon != std::string::npos) options.address = from.listen.substr(0, colon);
  if (options.address.starts_with('[') && options.address.ends_with(']')) {
    options.address = options.address.substr(1, options.address.size() - 2);
  }
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), options.port);
  if (error != std::errc() || end != port.data() + port.size() || options.address.empty()) {
    throw Error(ErrorKind::kInvalid, "Reading --listen '{}': write ADDRESS:PORT or PORT, such as 127.0.0.1:9100.",
                from.listen);
  }
  const auto consists_of = [](const std::string& text, std::string_view characters) {
    return text.find_first_not_of(characters) == std::string::npos;
  };
  // They become part of ARNs and of a bucket's name.
  if (!from.region.empty() && (!consists_of(from.region, "abcdefghijklmnopqrstuvwxyz0123456789-") ||
                               from.region.size() > 32 || from.region.front() == '-' || from.region.back() == '-')) {
    throw Error(ErrorKind::kInvalid, "Reading --region '{}': write a region's name, such as us-east-1.", from.region);
  }
  if (!from.account.empty() && (!consists_of(from.account, "0123456789") || from.account.size() != 12)) {
    throw Error(ErrorKind::kInvalid, "Reading --account '{}': write 12 digits, such as 123456789012.", from.account);
  }
  options.instances = from.instances;
  options.region = from.region;
  options.account = from.account;
  return options;
}

std::string plural(std::size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

void greet(const server::Ready& ready, const std::string& data_dir, const Terminal& out) {
  const std::string option = data_dir == default_data_dir() ? "" : " --data-dir " + data_dir;
  out.line(out.paint(Colour::kBold, "Athanor") + " listens at " + out.paint(Colour::kCyan, ready.endpoint.http()) +
           " (and https)");
  out.line("  data       " + data_dir + (ready.first_start ? "  (new: keys, certificate and bucket made)" : ""));
  out.line("  bucket     s3://" + ready.endpoint.bucket);
  out.line("  instances  " + std::to_string(ready.instances) + " at a time");
  if (ready.live_jobs > 0) out.line("  jobs       " + plural(ready.live_jobs, "job") + " taken up again");
  out.line("");
  out.line("  In another shell:   eval \"$(athanor env" + option + ")\"      then any AWS client");
  out.line("                      athanor exec" + option + " -- CMD      for clients that insist on amazonaws.com");
  out.line("  Ctrl-C ends the server and leaves jobs running; `athanor down" + option + "` ends all.");
}

// Runs the server in this process until a signal ends it.
int serve(const server::Options& options) {
  const Terminal out(stdout);
  const server::Ended ended =
      server::run(options, [&](const server::Ready& ready) { greet(ready, options.data_dir, out); });
  if (ended.ended_all) {
    out.line("Athanor has ended, and every job with it.");
  } else if (ended.live_jobs > 0) {
    out.line("Athanor has ended; " + plural(ended.live_jobs, "job") + (ended.live_jobs == 1 ? " goes" : " go") +
             " on. Start it again to take " + (ended.live_jobs == 1 ? "it" : "them") + " up; `athanor down` ends all.");
  } else {
    out.line("Athanor has ended; no job was running.");
  }
  return kSuccess;
}

// Starts the server as a process of its own session, and returns once it answers.
int serve_detached(const server::Options& options) {
  if (const std::int64_t pid = server::running_server(options.data_dir); pid != 0) {
    throw Error(ErrorKind::kConflict, "Starting a server on {}: process {} already runs one there.", options.data_dir,
                pid);
  }
  SystemFiles files;
  const std::string output = options.data_dir + "/up.log";
  const Descriptor out(open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!out) throw system_error(errno, "Opening " + output);
  const pid_t child = fork();
  if (child < 0) throw system_error(errno, "Starting the server");
  if (child == 0) {
    setsid();
    try {
      const Descriptor in(open("/dev/null", O_RDONLY | O_CLOEXEC));
      if (!in) throw system_error(errno, "Opening /dev/null");
      dup2(in.get(), 0);
      dup2(out.get(), 1);
      dup2(out.get(), 2);
      _exit(serve(options));
    } catch (const Error& error) {
      Terminal(stderr).line(error.what());
      _exit(exit_code_of(error.kind()));
    } catch (const std::exception& error) {
      Terminal(stderr).line(error.what());
      _exit(kFailure);
    }
  }
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(kDetachWait_s);
  while (std::chrono::steady_clock::now() < give_up) {
    if (int status = 0; waitpid(child, &status, WNOHANG) == child) {
      const Terminal aside(stderr);
      std::string said = files.read_all(output);
      while (said.ends_with('\n')) said.pop_back();
      aside.line(aside.paint(Colour::kRed, "athanor: ") + "The server ended as it started: " + said);
      return WIFEXITED(status) && WEXITSTATUS(status) != kSuccess ? WEXITSTATUS(status) : kFailure;
    }
    const auto endpoint = server::read_endpoint(options.data_dir);
    if (endpoint && endpoint->pid == child) {
      const Terminal out(stdout);
      out.line(out.paint(Colour::kBold, "Athanor") + " listens at " + out.paint(Colour::kCyan, endpoint->http()) +
               " (process " + std::to_string(child) + ", data in " + options.data_dir + ")");
      return kSuccess;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  kill(child, SIGTERM);
  throw Error(ErrorKind::kUnavailable, "The server did not answer within {} s; {} tells what it did.", kDetachWait_s,
              output);
}

// 0 also where the server does not answer: it is ended nonetheless.
std::size_t count_live_jobs(const std::string& data_dir) {
  std::size_t count = 0;
  try {
    Connection connection(find_place(data_dir));
    for (const char* status : {"InProgress", "Stopping"}) {
      std::string token;
      do {
        json::object request = {{"StatusEquals", status}, {"MaxResults", 100}};
        if (!token.empty()) request["NextToken"] = token;
        const json::object page = connection.sagemaker("ListTrainingJobs", request);
        if (const json::array* jobs = json::find_array(page, "TrainingJobSummaries")) count += jobs->size();
        token = json::find_string(page, "NextToken").value_or("");
      } while (!token.empty());
    }
  } catch (const Error& error) {
    log::warning("athanor", "counting jobs: {}", error.what());
  }
  return count;
}

}  // namespace

int up(const UpOptions& from) {
  const server::Options options = server_options(from);
  SystemFiles files;
  try {
    files.make_folders(options.data_dir, 0700);
  } catch (const Error& error) {
    // Nothing is looked for here: a place where no folder can be made is a wrong one.
    if (error.kind() != ErrorKind::kNotFound) throw;
    throw Error(ErrorKind::kInvalid, "{}; choose a place where it can be made with --data-dir.", error.what());
  }
  log::open("athanor", from.verbose ? log::Level::kDebug : log::Level::kInfo, options.data_dir + "/athanor.log");
  // A connection, an upload and an agent hold descriptors. Agents and jobs do not mind: jobs get all that they may have.
  raise_descriptor_limit();
  return from.detach ? serve_detached(options) : serve(options);
}

int down(const Common& common) {
  server::Options options;
  options.data_dir = data_dir_or_default(common.data_dir);
  const Terminal out(stdout);
  if (!server::read_endpoint(options.data_dir)) {
    out.line("Nothing to end: no server was ever started in " + options.data_dir + ".");
    return kSuccess;
  }
  const auto tell = [&](std::size_t live_jobs) {
    if (live_jobs == 0) return;
    Terminal(stderr).line(fmt::format(
        "Waiting for {} to end: within {} s it is told to, then killed; what it made is uploaded. {} s at most.",
        plural(live_jobs, "job"), server::kDownGrace_s, server::kDownTimeout_s));
  };
  if (server::running_server(options.data_dir) != 0) {
    tell(count_live_jobs(options.data_dir));
  } else {
    log::open_quietly("athanor", log::Level::kInfo,
                      options.data_dir + "/athanor.log");  // ours, while we are the server
  }
  switch (server::down(options, tell)) {
    case server::Down::kNothing:
      out.line("Nothing to end: neither a server nor a job runs in " + options.data_dir + ".");
      return kSuccess;
    case server::Down::kAll:
      out.line("Athanor has ended, and every job with it. What it keeps stays in " + options.data_dir + ".");
      return kSuccess;
    case server::Down::kSomeLeft: break;
  }
  Terminal(stderr).line("The server was stopped before every job had ended. Run `athanor down` again to end the rest.");
  return kFailure;
}

}  // namespace athanor::cli
