#include "platform/compute/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "common/error.h"
#include "common/files.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

namespace athanor::compute {
namespace {

constexpr std::size_t kStatBytesMax = 1024;

int pidfd_open(std::int64_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0)); }

std::string boot_id() {
  SystemFiles files;
  std::string id = files.read_all("/proc/sys/kernel/random/boot_id");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

struct Stat {
  std::int64_t pid = 0;
  char state = '?';
  std::string start_ticks;
};

// "PID (NAME) STATE … START …", the start being field 22. NAME may hold anything.
std::optional<Stat> parse_stat(const std::string& text) {
  const std::size_t open = text.find('(');
  const std::size_t close = text.rfind(')');
  if (open == std::string::npos || close == std::string::npos || close + 2 >= text.size()) return std::nullopt;
  Stat stat;
  stat.pid = std::strtoll(text.c_str(), nullptr, 10);
  stat.state = text[close + 2];
  std::size_t at = close + 2;
  for (int field = 3; field < 22; ++field) {
    at = text.find(' ', at);
    if (at == std::string::npos) return std::nullopt;
    ++at;
  }
  stat.start_ticks = text.substr(at, text.find(' ', at) - at);
  return stat;
}

// Nothing when there is no such file, or no such process as it is of.
std::optional<std::string> read_small(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file && errno == ENOENT) return std::nullopt;
  if (!file) throw system_error(errno, "reading " + path);
  std::string text(kStatBytesMax, '\0');
  const ssize_t count = read(file.get(), text.data(), text.size());
  if (count < 0 && errno == ESRCH) return std::nullopt;
  if (count < 0) throw system_error(errno, "reading " + path);
  text.resize(static_cast<std::size_t>(count));
  return text;
}

// What the child needs between vfork and exec, where nothing may be allocated.
struct Child {
  const char* program;
  char* const* arguments;
  char* const* environment;
  const char* output_path;
  const char* identity_temporary;
  const char* identity;
  int report;  // a pipe to the parent: a Failure, or its end when the program runs
};

struct Failure {
  int error = 0;
  const char* doing = nullptr;  // a literal: good in either process
};

constexpr int kReport = 3;  // the child's end of the pipe, above the standard streams and below all that is closed

// Runs in the child, on the parent's memory: only system calls.
void become(const Child& child) {
  int report = child.report;
  const auto fail = [&report](const char* doing) {
    const Failure failure{errno, doing};
    [[maybe_unused]] const ssize_t written = write(report, &failure, sizeof(failure));
    _exit(127);
  };
  if (setsid() < 0) fail("setsid");
  const int null = open("/dev/null", O_RDONLY);
  const int output = open(child.output_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (null < 0 || output < 0) fail("opening its output");
  if (dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0) fail("dup2");
  if (report != kReport && dup3(report, kReport, O_CLOEXEC) < 0) fail("dup3");
  report = kReport;
  if (syscall(SYS_close_range, kReport + 1U, ~0U, 0U) != 0) fail("close_range");

  char stat[kStatBytesMax];
  const int self = open("/proc/self/stat", O_RDONLY);
  const ssize_t count = self < 0 ? -1 : read(self, stat, sizeof(stat));
  if (count <= 0) fail("reading /proc/self/stat");
  close(self);
  const int identity = open(child.identity_temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (identity < 0 || write(identity, stat, static_cast<std::size_t>(count)) != count) fail("writing its identity");
  close(identity);
  if (link(child.identity_temporary, child.identity) != 0) fail("taking its identity");  // refuses if it is taken

  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) {
    if (signal != SIGKILL && signal != SIGSTOP) sigaction(signal, &standard, nullptr);
  }
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve(child.program, child.arguments, child.environment);
  fail("execve");
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (const auto& text : texts) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

}  // namespace

Process start_process(const Command& command) {
  SystemFiles files;
  // Not synced: a crash of the machine ends the process too.
  files.open(command.folder + "/boot", Files::Open::kTruncate, 0600)->append(boot_id());
  const std::vector<char*> arguments = pointers(command.arguments);
  const std::vector<char*> environment = pointers(command.environment);
  const std::string identity = command.folder + "/process";
  const std::string temporary = identity + ".tmp";
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw system_error(errno, "starting " + command.arguments.at(0));
  const Descriptor hear(ends[0]);
  Descriptor report(ends[1]);
  const Child child{command.arguments.at(0).c_str(),
                    arguments.data(),
                    environment.data(),
                    command.output_path.c_str(),
                    temporary.c_str(),
                    identity.c_str(),
                    report.get()};

  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // no handler of ours may run in the child
  const pid_t pid = vfork();
  if (pid == 0) become(child);
  const int vfork_error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) throw system_error(vfork_error, "starting " + command.arguments[0]);

  report = Descriptor();
  Process process{pid, Descriptor(pidfd_open(pid))};
  Failure failure;
  ssize_t count = 0;
  while ((count = read(hear.get(), &failure, sizeof(failure))) < 0 && errno == EINTR) continue;
  if (count != 0) {
    waitpid(pid, nullptr, 0);
    throw system_error(failure.error, fmt::format("starting {} ({})", command.arguments[0], failure.doing));
  }
  if (!process.handle) throw system_error(errno, "watching " + command.arguments[0]);
  return process;
}

Found find_process(const std::string& folder) {
  Found found;
  const auto boot = read_small(folder + "/boot");
  const auto recorded = read_small(folder + "/process");
  if (!boot || !recorded) return found;
  const auto identity = parse_stat(*recorded);
  if (!identity || *boot != boot_id()) return found;
  found.was_started = true;
  Process process{identity->pid, Descriptor(pidfd_open(identity->pid))};
  if (!process.handle && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) {
    throw system_error(errno, fmt::format("watching process {}", identity->pid));  // it may well be there
  }
  if (!process.handle) return found;
  // Looked at after the pidfd was opened: if it is the same process now, it is the same one that the pidfd holds.
  const auto now = read_small(fmt::format("/proc/{}/stat", identity->pid));
  const auto present = now ? parse_stat(*now) : std::nullopt;
  if (present && present->start_ticks == identity->start_ticks) found.process = std::move(process);
  return found;
}

bool has_ended(const Process& process, int wait_ms) {
  pollfd watched = {process.handle.get(), POLLIN, 0};
  return poll(&watched, 1, wait_ms) == 1;
}

bool send_signal(const Process& process, int signal) {
  if (has_ended(process, 0)) return false;
  if (signal == SIGKILL) kill(static_cast<pid_t>(-process.pid), signal);
  return syscall(SYS_pidfd_send_signal, process.handle.get(), signal, nullptr, 0) == 0;
}

End end_of(const Process& process) {
  siginfo_t info = {};
  const auto id = static_cast<id_t>(process.handle.get());
  if (waitid(static_cast<idtype_t>(P_PIDFD), id, &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0) {
    return {fmt::format("its process {} has ended", process.pid)};
  }
  if (info.si_code == CLD_EXITED) {
    return {fmt::format("its process {} ended with status {}", process.pid, info.si_status)};
  }
  return {fmt::format("its process {} was killed by signal {} ({})", process.pid, info.si_status,
                      strsignal(info.si_status)),
          info.si_status == SIGKILL};
}

}  // namespace athanor::compute
