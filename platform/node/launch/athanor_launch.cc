// The first program in a sandbox: tells the agent who it is, waits for the word, and becomes the job's program.
//
// On descriptor 3 it finds a socket of messages to the agent, on 4 the pipe that takes the job's output. It sends "R"
// with three descriptors (a pidfd of itself, a pidfd of the sandbox's first process, a socket that listens on
// 127.0.0.1:PORT inside the sandbox's network) or "E" and a sentence. The agent answers "G" with a file that holds the
// launch block: working directory, number of arguments, arguments, environment, each ended by a NUL. When exec fails
// the agent gets "X" and errno; when it works the socket closes by itself, which tells that the program runs.
//
// It is linked statically and starts for every job, so it takes nothing of the house but the C library.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int kAgent = 3;
constexpr int kOutput = 4;
constexpr off_t kBlockBytesMax = 4 << 20;

[[noreturn]] void fail(const char* doing) {
  char text[256];
  const int length = std::snprintf(text, sizeof text, "E%s: %s", doing, std::strerror(errno));
  if (write(kAgent, text, static_cast<std::size_t>(length)) < 0) _exit(125);
  _exit(125);
}

int listen_on_loopback(int port) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listener < 0) fail("making the socket for credentials");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    fail("binding the socket for credentials");
  }
  if (listen(listener, 16) != 0) fail("listening for requests of credentials");
  return listener;
}

void announce(int listener) {
  const int descriptors[3] = {static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)),
                              static_cast<int>(syscall(SYS_pidfd_open, 1, 0)), listener};
  if (descriptors[0] < 0 || descriptors[1] < 0) {
    fail("opening a descriptor of the program's process (Linux 5.3 or newer is needed)");
  }
  char word = 'R';
  iovec data{&word, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof descriptors)] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof descriptors);
  std::memcpy(CMSG_DATA(header), descriptors, sizeof descriptors);
  if (sendmsg(kAgent, &message, 0) != 1) _exit(125);
  for (const int descriptor : descriptors) close(descriptor);
}

// Waits for the agent's word; returns the launch block, which stays in memory, or ends when the agent is gone.
char* receive_block(std::size_t& length) {
  char word = 0;
  iovec data{&word, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = -1;
  do {
    got = recvmsg(kAgent, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (got != 1 || header == nullptr || header->cmsg_type != SCM_RIGHTS) _exit(125);
  int file = -1;
  std::memcpy(&file, CMSG_DATA(header), sizeof file);
  struct stat info {};
  if (fstat(file, &info) != 0 || info.st_size <= 0 || info.st_size > kBlockBytesMax) fail("reading the agent's word");
  length = static_cast<std::size_t>(info.st_size);
  char* block = static_cast<char*>(std::malloc(length));
  if (block == nullptr || pread(file, block, length, 0) != info.st_size) fail("reading the agent's word");
  close(file);
  return block;
}

// The next string of the block, and a step forward.
const char* next(const char*& at, const char* end) {
  const char* start = at;
  const void* nul = std::memchr(at, 0, static_cast<std::size_t>(end - at));
  if (nul == nullptr) {
    errno = EPROTO;
    fail("reading the agent's word");
  }
  at = static_cast<const char*>(nul) + 1;
  return start;
}

}  // namespace

// athanor-launch PORT PROCESSES_MAX
int main(int count, char** values) {
  if (count != 3) return 125;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  announce(listen_on_loopback(std::atoi(values[1])));

  std::size_t length = 0;
  const char* block = receive_block(length);
  const char* at = block;
  const char* end = block + length;
  const char* folder = next(at, end);
  const long arguments = std::atol(next(at, end));
  if (arguments < 1 || arguments > 100'000) _exit(125);
  auto** list = static_cast<const char**>(std::calloc(static_cast<std::size_t>(arguments) + 1, sizeof(char*)));
  for (long i = 0; i < arguments; ++i) list[i] = next(at, end);
  clearenv();
  while (at < end) putenv(const_cast<char*>(next(at, end)));

  const rlim_t processes_max = static_cast<rlim_t>(std::atol(values[2]));
  rlimit limit{processes_max, processes_max};
  setrlimit(RLIMIT_NPROC, &limit);
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  limit = {0, 0};
  setrlimit(RLIMIT_CORE, &limit);
  umask(022);
  const int nothing = open("/dev/null", O_RDONLY);
  if (nothing < 0 || dup2(nothing, 0) < 0 || dup2(kOutput, 1) < 0 || dup2(kOutput, 2) < 0) {
    fail("connecting the program's output");
  }
  if (nothing > 2) close(nothing);
  close(kOutput);
  fcntl(kAgent, F_SETFD, FD_CLOEXEC);
  close_range(kAgent + 1, ~0u, 0);
  if (chdir(folder) != 0) fail("entering the program's working directory");
  prctl(PR_SET_PDEATHSIG, 0);
  execvp(list[0], const_cast<char**>(list));
  char word[1 + sizeof(int)] = {'X'};
  const int failure = errno;
  std::memcpy(word + 1, &failure, sizeof failure);
  if (write(kAgent, word, sizeof word) < 0) _exit(125);
  _exit(127);
}
