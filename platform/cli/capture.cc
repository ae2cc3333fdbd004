#include "platform/cli/capture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <thread>
#include <utility>

#include "common/descriptor.h"
#include "common/descriptor_passing.h"
#include "common/error.h"

namespace athanor::cli {
namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#endif
constexpr std::uint16_t kDnsPort = 53;

// Installs the filter in this process and those that it will start; returns the listener, or -1 with errno.
int install_filter() {
  sock_filter instructions[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_connect, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{std::size(instructions), instructions};
  const auto install = [&] {
    return static_cast<int>(syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program));
  };
  const int listener = install();
  if (listener >= 0 || errno != EACCES) return listener;
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);  // what a process without CAP_SYS_ADMIN must promise first
  return install();
}

// What the child says before it becomes the program: the listener beside an errno of 0, or what failed.
struct Word {
  int error_number = 0;
  bool at_filter = false;
};

void send_word(int channel, const Word& word, std::span<const int> listener) {
  send_with_descriptors(channel, {reinterpret_cast<const char*>(&word), sizeof word}, listener);
}

// Nothing when the channel was closed: the program has started.
std::optional<Word> receive_word(int channel, Descriptor& listener) {
  Received received = receive_with_descriptors(channel, sizeof(Word), -1);
  if (received.bytes.size() != sizeof(Word)) return {};
  if (!received.descriptors.empty()) listener = std::move(received.descriptors.front());
  Word word;
  std::memcpy(&word, received.bytes.data(), sizeof word);
  return word;
}

[[noreturn]] void become(const std::vector<char*>& argv, const std::vector<char*>& envp, int channel) {
  const int listener = install_filter();
  if (listener < 0) {
    send_word(channel, {errno, true}, {});
  } else {
    send_word(channel, {0, true}, std::span(&listener, 1));
    close(listener);
    execvpe(argv[0], argv.data(), envp.data());
    send_word(channel, {errno, false}, {});
  }
  _exit(127);
}

// The address that a connect(2) names, read from the memory of the thread that called it.
struct Address {
  sockaddr_storage bytes{};
  std::size_t length = 0;
};

std::optional<Address> read_address(const seccomp_notif& call) {
  Address address;
  address.length = std::min<std::size_t>(call.data.args[2], sizeof address.bytes);
  iovec local{&address.bytes, address.length};
  iovec remote{reinterpret_cast<void*>(call.data.args[1]), address.length};
  const ssize_t got = process_vm_readv(static_cast<pid_t>(call.pid), &local, 1, &remote, 1, 0);
  if (got < static_cast<ssize_t>(sizeof(sa_family_t)) || static_cast<std::size_t>(got) != address.length) return {};
  return address;
}

// Where an address is to be led, if it is: 127.0.0.1 and the like, in host order.
struct Destination {
  std::uint32_t ipv4;
  std::uint16_t port;
};

std::optional<Destination> destination_of(std::uint32_t ipv4, bool has_ipv4, std::uint16_t port,
                                          const Redirects& redirects) {
  if (has_ipv4 && ipv4 == redirects.captured) return Destination{redirects.target, redirects.target_port};
  if (port == kDnsPort) return Destination{INADDR_LOOPBACK, redirects.resolver_port};
  return {};
}

// Rewrites the address; false when it is to stay.
bool redirect(Address& address, const Redirects& redirects) {
  if (address.bytes.ss_family == AF_INET && address.length >= sizeof(sockaddr_in)) {
    auto* in = reinterpret_cast<sockaddr_in*>(&address.bytes);
    const auto to = destination_of(ntohl(in->sin_addr.s_addr), true, ntohs(in->sin_port), redirects);
    if (!to) return false;
    in->sin_addr.s_addr = htonl(to->ipv4);
    in->sin_port = htons(to->port);
    return true;
  }
  if (address.bytes.ss_family == AF_INET6 && address.length >= sizeof(sockaddr_in6)) {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&address.bytes);
    std::uint32_t ipv4 = 0;
    std::memcpy(&ipv4, in6->sin6_addr.s6_addr + 12, 4);
    const bool mapped = IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
    const auto to = destination_of(ntohl(ipv4), mapped, ntohs(in6->sin6_port), redirects);
    if (!to) return false;
    in6->sin6_addr = {};  // ::ffff:a.b.c.d
    in6->sin6_addr.s6_addr[10] = in6->sin6_addr.s6_addr[11] = 0xff;
    ipv4 = htonl(to->ipv4);
    std::memcpy(in6->sin6_addr.s6_addr + 12, &ipv4, 4);
    in6->sin6_port = htons(to->port);
    in6->sin6_scope_id = 0;
    return true;
  }
  return false;
}

bool seems_closed(const Address& address, const Redirects& redirects) {
  if (address.bytes.ss_family != AF_UNIX) return false;
  const auto* un = reinterpret_cast<const sockaddr_un*>(&address.bytes);
  const std::size_t offset = offsetof(sockaddr_un, sun_path);
  if (address.length <= offset) return false;
  const std::size_t room = std::min(address.length - offset, sizeof un->sun_path);
  const std::string path(un->sun_path, strnlen(un->sun_path, room));
  return std::find(redirects.closed_sockets.begin(), redirects.closed_sockets.end(), path) !=
         redirects.closed_sockets.end();
}

// Whether an address that could not be read, by the errno of the attempt, may be one to be led elsewhere: the memory of some
// programs is closed to us (prctl(2), PR_SET_DUMPABLE), and what is known of it then is its length.
bool may_be_ours(const seccomp_notif& call, int error_number) {
  return error_number == EPERM &&
         (call.data.args[2] == sizeof(sockaddr_in) || call.data.args[2] == sizeof(sockaddr_in6));
}

// Answers one intercepted call. What is to be led elsewhere and cannot be is refused: it must not reach whoever has that
// address in earnest.
void answer_call(int listener, const Redirects& redirects) {
  seccomp_notif call{};
  if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) return;
  seccomp_notif_resp response{};
  response.id = call.id;
  response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;

  errno = 0;
  std::optional<Address> address = read_address(call);
  const int read_error = errno;
  // Between our reads the caller may have died and its id been taken by another: never write into that one.
  const bool still_waits = ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &call.id) == 0;
  bool refused = false;
  if (!address) {
    refused = may_be_ours(call, read_error);
  } else if (still_waits && seems_closed(*address, redirects)) {
    refused = true;
  } else if (still_waits && redirect(*address, redirects)) {
    iovec local{&address->bytes, address->length};
    iovec remote{reinterpret_cast<void*>(call.data.args[1]), address->length};
    const ssize_t put = process_vm_writev(static_cast<pid_t>(call.pid), &local, 1, &remote, 1, 0);
    refused = put != static_cast<ssize_t>(address->length);
  }
  if (refused) {
    response.flags = 0;
    response.error = -ECONNREFUSED;
  }
  ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
}

// Until `stop` is raised or no process with the filter is left.
void serve(int listener, int stop, const Redirects& redirects) {
  while (true) {
    pollfd both[2] = {{listener, POLLIN, 0}, {stop, POLLIN, 0}};
    if (poll(both, 2, -1) < 0 && errno != EINTR) return;
    if (both[1].revents || (both[0].revents & POLLHUP)) return;
    if (both[0].revents & POLLIN) answer_call(listener, redirects);
  }
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

int run_captured(const std::vector<std::string>& command, const std::map<std::string, std::string>& environment,
                 const Redirects& redirects) {
  std::vector<std::string> arguments = command;
  std::vector<std::string> variables;
  for (const auto& [name, value] : environment) variables.push_back(name + "=" + value);
  const std::vector<char*> argv = pointers(arguments);
  const std::vector<char*> envp = pointers(variables);

  // Blocked before the child starts, and read from a descriptor.
  sigset_t watched, before;
  sigemptyset(&watched);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD}) sigaddset(&watched, signal);
  pthread_sigmask(SIG_BLOCK, &watched, &before);

  SocketPair channel = make_socket_pair(SOCK_SEQPACKET);
  // Orphans among the program's children stay below us, where the kernel lets us write into their memory.
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  const pid_t child = fork();
  if (child < 0) throw system_error(errno, "Starting " + command.front());
  if (child == 0) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    become(argv, envp, channel.theirs.get());
  }
  channel.theirs.reset();

  Descriptor listener;
  const auto fail = [&](const Error& error) {
    waitpid(child, nullptr, 0);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw error;
  };
  const std::optional<Word> filter = receive_word(channel.ours.get(), listener);
  if (!filter || filter->error_number != 0 || !listener) {
    fail(Error(
        ErrorKind::kUnavailable,
        "Leading the connections of {} to Athanor: the kernel refused a seccomp listener ({}). It needs Linux 5.5 "
        "or later, and no other such listener on this process.",
        command.front(), std::strerror(filter ? filter->error_number : EIO)));
  }
  const std::optional<Word> failure = receive_word(channel.ours.get(), listener);
  if (failure) {
    const bool absent = failure->error_number == ENOENT;
    fail(Error(absent ? ErrorKind::kNotFound : ErrorKind::kDenied, "Running {}: {}.", command.front(),
               std::strerror(failure->error_number)));
  }
  channel.ours.reset();

  const Descriptor stop(eventfd(0, EFD_CLOEXEC));
  std::thread server([&] { serve(listener.get(), stop.get(), redirects); });

  // Not by SIGCHLD: where another thread blocks no signals, the kernel may give it to that one, which ignores it.
  const Descriptor handle(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
  const Descriptor signals(signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
  int status = 0;
  bool ended = false;
  while (!ended) {
    pollfd either[2] = {{handle.get(), POLLIN, 0}, {signals.get(), POLLIN, 0}};
    poll(either, 2, -1);
    signalfd_siginfo info{};
    while (read(signals.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGHUP || info.ssi_signo == SIGQUIT) {
        kill(child, static_cast<int>(info.ssi_signo));
      }
    }
    int one = 0;
    for (pid_t pid; (pid = waitpid(-1, &one, WNOHANG)) > 0;) {
      if (pid == child) {
        status = one;
        ended = true;
      }
    }
  }
  eventfd_write(stop.get(), 1);
  server.join();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace athanor::cli
