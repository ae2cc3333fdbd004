#include "platform/node/sandbox.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "common/descriptor_passing.h"
#include "common/error.h"
#include "platform/node/namespaces.h"
#include "platform/node/netlink.h"

namespace athanor::node {

namespace {

constexpr const char* kWrapper = "/usr/bin/bwrap";
constexpr std::int64_t kPrepareMax_ms = 20'000;
constexpr std::int64_t kRunMax_ms = 20'000;
constexpr std::int64_t kEndMax_ms = 10'000;  // of the wrapper, and again of what was in it
constexpr int kOutputPipeBytes = 1 << 20;

Descriptor open_process(pid_t process) {
  Descriptor handle(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
  if (!handle) {
    throw system_error(errno, "opening a descriptor of the sandbox's process (Linux 5.3 or newer is needed)");
  }
  return handle;
}

void send_signal(const Descriptor& process, int number) {
  // Fails only when the process is gone, which is as good.
  if (process) ::syscall(SYS_pidfd_send_signal, process.get(), number, nullptr, 0);
}

bool wait_readable(int descriptor, std::int64_t timeout_ms) {
  pollfd ready{descriptor, POLLIN, 0};
  int count = -1;
  do {
    count = ::poll(&ready, 1, static_cast<int>(timeout_ms));
  } while (count < 0 && errno == EINTR);
  return count > 0;
}

std::string read_errors(int descriptor) {
  std::array<char, 2048> text;
  const ssize_t got = ::read(descriptor, text.data(), text.size());
  std::string result(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  while (!result.empty() && result.back() == '\n') result.pop_back();
  return result;
}

void restore_signals() {
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

void join_namespaces(const SandboxSpec& spec) {
  if (spec.user_namespace >= 0) {
    enter(spec.user_namespace, CLONE_NEWUSER, "user");
    enter(spec.network_namespace, CLONE_NEWNET, "network");
  } else {
    enter_own_user_namespace();
    enter_new(CLONE_NEWNET, "network");
    Netlink().set_up(1);
  }
  enter_new(CLONE_NEWNS, "mount");
}

void use_cpus(const std::vector<std::uint32_t>& cpus) {
  if (cpus.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const std::uint32_t cpu : cpus) CPU_SET(cpu, &set);
  if (::sched_setaffinity(0, sizeof set, &set) != 0) {
    throw system_error(errno, fmt::format("giving the job the processors {}", fmt::join(cpus, ",")));
  }
}

// Puts `descriptors` at 0, 1, 2, … and leaves close-on-exec on all others.
void place(std::vector<int> descriptors) {
  for (int& descriptor : descriptors) {
    descriptor = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 64);
    if (descriptor < 0) throw system_error(errno, "placing the sandbox's descriptors");
  }
  for (std::size_t i = 0; i < descriptors.size(); ++i) {
    if (::dup2(descriptors[i], static_cast<int>(i)) < 0) throw system_error(errno, "placing the sandbox's descriptors");
  }
}

// The child's part; ends in exec.
void become_wrapper(const SandboxSpec& spec, int control, int output, int errors) {
  restore_signals();
  use_cpus(spec.cpus);
  join_namespaces(spec);
  const std::vector<std::string> notes = mount_root(spec.root);
  for (const std::string& note : notes) send_with_descriptors(control, "N" + note, {});

  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing < 0) throw system_error(errno, "opening /dev/null");
  const std::string root = spec.root.folder + "/root";
  const std::string uid = std::to_string(kSandboxUid);
  const std::string port = std::to_string(spec.credentials_port);
  const std::string processes = std::to_string(spec.processes_max);
  const char* arguments[] = {"bwrap",
                             "--unshare-user",
                             "--disable-userns",
                             "--uid",
                             uid.c_str(),
                             "--gid",
                             uid.c_str(),
                             "--unshare-pid",
                             "--unshare-ipc",
                             "--unshare-uts",
                             "--unshare-cgroup-try",
                             "--hostname",
                             spec.root.host.c_str(),
                             "--bind",
                             root.c_str(),
                             "/",
                             "--proc",
                             "/proc",
                             "--dev",
                             "/dev",
                             "--perms",
                             "1777",
                             "--tmpfs",
                             "/dev/shm",
                             "--cap-drop",
                             "ALL",
                             "--die-with-parent",
                             "--new-session",
                             "--chdir",
                             "/",
                             "/opt/athanor/bin/athanor-launch",
                             port.c_str(),
                             processes.c_str(),
                             nullptr};
  const char* environment[] = {"PATH=/usr/bin:/bin", nullptr};
  place({nothing, nothing, errors, control, output});
  ::execve(kWrapper, const_cast<char**>(arguments), const_cast<char**>(environment));
  const int failure = errno;
  const std::string word =
      fmt::format("Estarting {} (is the package bubblewrap installed?): {}", kWrapper, std::strerror(failure));
  send_with_descriptors(3, word, {});
}

}  // namespace

std::unique_ptr<Sandbox> Sandbox::prepare(const SandboxSpec& spec) {
  if (::geteuid() == 0) {
    throw Error(ErrorKind::kInternal, "making the sandbox: root must become the job's user first");
  }
  lay_out_root(spec.root);
  SocketPair sockets = make_socket_pair(SOCK_SEQPACKET);
  int output[2];
  int errors[2];
  if (::pipe2(output, O_CLOEXEC) != 0) throw system_error(errno, "making the pipe for the job's output");
  Descriptor output_read(output[0]);
  Descriptor output_write(output[1]);
  if (::pipe2(errors, O_CLOEXEC | O_NONBLOCK) != 0) throw system_error(errno, "making a pipe for the sandbox");
  const Descriptor errors_read(errors[0]);
  Descriptor errors_write(errors[1]);
  ::fcntl(output_read.get(), F_SETPIPE_SZ, kOutputPipeBytes);  // a smaller one works too
  ::fcntl(output_read.get(), F_SETFL, O_NONBLOCK);

  std::unique_ptr<Sandbox> sandbox(new Sandbox());
  sandbox->wrapper_ =
      fork_child([&] { become_wrapper(spec, sockets.theirs.get(), output_write.get(), errors_write.get()); },
                 [&](const std::string& why) { send_with_descriptors(sockets.theirs.get(), "E" + why, {}); });
  sandbox->wrapper_handle_ = open_process(sandbox->wrapper_);
  sockets.theirs.reset();
  output_write.reset();
  errors_write.reset();
  sandbox->control_ = std::move(sockets.ours);
  sandbox->output_ = std::move(output_read);
  sandbox->hear_of_launch(errors_read.get());
  return sandbox;
}

void Sandbox::hear_of_launch(int errors) {
  for (;;) {
    Received word = receive_with_descriptors(control_.get(), 4096, kPrepareMax_ms);
    if (word.bytes.starts_with('N')) {
      notes_.push_back(word.bytes.substr(1));
    } else if (word.bytes == "R" && word.descriptors.size() == 3) {
      program_ = std::move(word.descriptors[0]);
      first_ = std::move(word.descriptors[1]);
      credentials_listener_ = std::move(word.descriptors[2]);
      return;
    } else {
      throw Error(ErrorKind::kUnavailable, "making the sandbox: {}",
                  word.bytes.size() > 1 ? word.bytes.substr(1) : read_errors(errors));
    }
  }
}

void Sandbox::run(const Program& program) {
  ATHANOR_ASSERT(!program.arguments.empty());
  std::string block = program.folder + '\0' + std::to_string(program.arguments.size()) + '\0';
  for (const std::string& argument : program.arguments) block += argument + '\0';
  for (const auto& [name, value] : program.environment) block += name + '=' + value + '\0';

  // The block travels as a file: it may be larger than a message can be.
  const Descriptor file(::memfd_create("launch", MFD_CLOEXEC));
  if (!file || ::write(file.get(), block.data(), block.size()) != static_cast<ssize_t>(block.size())) {
    throw system_error(errno, "handing the program to the sandbox");
  }
  const int descriptor = file.get();
  if (!send_with_descriptors(control_.get(), "G", {&descriptor, 1})) {
    throw Error(ErrorKind::kUnavailable, "starting the program: the sandbox has ended");
  }
  const Received word = receive_with_descriptors(control_.get(), 4096, kRunMax_ms);
  control_.reset();
  if (word.bytes.empty()) return;
  const std::string& name = program.arguments.front();
  if (word.bytes.front() == 'X' && word.bytes.size() == 1 + sizeof(int)) {
    int failure = 0;
    std::memcpy(&failure, word.bytes.data() + 1, sizeof failure);
    if (failure == ENOENT || failure == ENOTDIR) {
      throw Error(ErrorKind::kNotFound,
                  "the program \"{}\" (or the interpreter that its first line names) was not found", name);
    }
    throw Error(ErrorKind::kDenied, "the program \"{}\" cannot be run: {}", name, std::strerror(failure));
  }
  throw Error(ErrorKind::kUnavailable, "starting the program: {}", word.bytes.substr(1));
}

void Sandbox::signal(int number) { send_signal(program_, number); }

void Sandbox::kill() {
  send_signal(first_, SIGKILL);
  if (!first_) send_signal(wrapper_handle_, SIGKILL);
}

bool Sandbox::wait_until_gone(std::int64_t timeout_ms) {
  if (!wait_readable(wrapper_handle_.get(), timeout_ms)) return false;
  // The wrapper leaves when the program does; the first process, and with it all others, is then being killed.
  kill();
  return !first_ || wait_readable(first_.get(), timeout_ms);
}

int Sandbox::wait() {
  ATHANOR_ASSERT(wrapper_ > 0);
  wait_until_gone(-1);
  return collect();
}

// The wrapper has ended.
int Sandbox::collect() {
  int status = 0;
  while (::waitpid(wrapper_, &status, 0) < 0 && errno == EINTR) {
  }
  wrapper_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Sandbox::~Sandbox() {
  if (wrapper_ <= 0) return;
  kill();
  send_signal(wrapper_handle_, SIGKILL);
  if (wait_until_gone(kEndMax_ms)) collect();
}

}  // namespace athanor::node
