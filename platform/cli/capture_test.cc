#include "platform/cli/capture.h"

#include <arpa/inet.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "common/error.h"
#include "platform/cli/resolver.h"

namespace athanor::cli {
namespace {

constexpr std::uint32_t kCaptured = 0xc6120001;  // 198.18.0.1, of the range kept for tests of networks

// Accepts connections on a loopback port and greets each.
class Greeter {
 public:
  Greeter() {
    socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof at;
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
    EXPECT_EQ(listen(socket_, 8), 0);
    getsockname(socket_, reinterpret_cast<sockaddr*>(&at), &length);
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this] {
      for (int peer; (peer = accept(socket_, nullptr, nullptr)) >= 0;) {
        ++greeted_;
        EXPECT_EQ(write(peer, "hello\n", 6), 6);
        close(peer);
      }
    });
  }
  ~Greeter() {
    shutdown(socket_, SHUT_RDWR);
    thread_.join();
    close(socket_);
  }
  std::uint16_t port() const { return port_; }
  int greeted() const { return greeted_; }

 private:
  int socket_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<int> greeted_ = 0;
  std::thread thread_;
};

int run(const std::string& script, const Redirects& redirects) {
  return run_captured({"bash", "-c", script}, {{"PATH", "/usr/bin:/bin"}}, redirects);
}

TEST(CaptureTest, LeadsConnectionsOfTheProgramAndItsChildrenAway) {
  Greeter greeter;
  const Redirects redirects{kCaptured, INADDR_LOOPBACK, greeter.port(), 1, {}};
  EXPECT_EQ(run("exec 3<>/dev/tcp/198.18.0.1/443 && read -r line <&3 && [ $line = hello ]", redirects), 0);
  EXPECT_EQ(run("bash -c '(exec 3<>/dev/tcp/198.18.0.1/80; read -r line <&3)' && true", redirects), 0);
  EXPECT_EQ(greeter.greeted(), 2);
}

TEST(CaptureTest, LeavesOtherConnectionsAlone) {
  Greeter here, elsewhere;
  const Redirects redirects{kCaptured, INADDR_LOOPBACK, elsewhere.port(), 1, {}};
  EXPECT_EQ(run("exec 3<>/dev/tcp/127.0.0.1/" + std::to_string(here.port()) + "; read -r line <&3", redirects), 0);
  EXPECT_EQ(here.greeted(), 1);
  EXPECT_EQ(elsewhere.greeted(), 0);
}

// What `body` returns in a process that no memory but its own user's is open to. A process with threads cannot be forked into one
// that starts others: `body` makes its own.
int as_ordinary_user(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    constexpr int kNobody = 65534;
    if (getuid() == 0 && (setgroups(0, nullptr) != 0 || setgid(kNobody) != 0 || setuid(kNobody) != 0)) _exit(120);
    _exit(body());
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Connects to 198.18.0.1:443 in ways that keep us from its memory, and ends with 0 when it was refused at once.
constexpr const char* kStubborn = R"(
import ctypes, errno, mmap, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(4, 1 if sys.argv[1] == "read-only" else 0)
page = mmap.mmap(-1, 4096)
page.write(struct.pack("=H", 2) + struct.pack("!H4s8x", 443, bytes([198, 18, 0, 1])))
at = ctypes.addressof(ctypes.c_char.from_buffer(page))
if sys.argv[1] == "read-only": assert libc.mprotect(ctypes.c_void_p(at), 4096, 1) == 0
assert libc.connect(libc.socket(2, 1, 0), ctypes.c_void_p(at), 16) == -1
sys.exit(0 if ctypes.get_errno() == errno.ECONNREFUSED else 1)
)";

TEST(CaptureTest, WhatCannotBeLedIsRefused) {
  for (const char* way : {"read-only", "not dumpable"}) {
    EXPECT_EQ(as_ordinary_user([way] {
                Greeter greeter;
                const Redirects redirects{kCaptured, INADDR_LOOPBACK, greeter.port(), 1, {}};
                const int status =
                    run_captured({"/usr/bin/python3", "-c", kStubborn, way}, {{"PATH", "/usr/bin:/bin"}}, redirects);
                return greeter.greeted() == 0 ? status : 121;
              }),
              0)
        << way;
  }
}

TEST(CaptureTest, NamesResolveByTheResolver) {
  Greeter greeter;
  const Resolver resolver({"amazonaws.com"}, kCaptured, {});
  const Redirects redirects{kCaptured, INADDR_LOOPBACK, greeter.port(), resolver.port(), {"/var/run/nscd/socket"}};
  EXPECT_EQ(run("getent ahostsv4 bucket.s3.us-east-1.amazonaws.com | grep -q '^198.18.0.1 '", redirects), 0);
  EXPECT_EQ(run("exec 3<>/dev/tcp/sts.us-east-1.amazonaws.com/443", redirects), 0);
  EXPECT_NE(run("getent hosts notamazonaws.com", redirects), 0);
}

TEST(CaptureTest, ReturnsHoweverSoonTheProgramEnds) {
  const Greeter other_thread;  // it blocks no signals: the kernel may give it SIGCHLD
  const Redirects redirects{kCaptured, INADDR_LOOPBACK, 1, 1, {}};
  for (int i = 0; i < 200; ++i) EXPECT_EQ(run_captured({"/bin/true"}, {}, redirects), 0);
}

TEST(CaptureTest, ReturnsTheProgramsStatus) {
  const Redirects redirects{kCaptured, INADDR_LOOPBACK, 1, 1, {}};
  EXPECT_EQ(run("exit 7", redirects), 7);
  EXPECT_EQ(run("kill -9 $$", redirects), 137);
}

TEST(CaptureTest, DoesNotWaitForWhatOutlivesTheProgram) {
  const Redirects redirects{kCaptured, INADDR_LOOPBACK, 1, 1, {}};
  EXPECT_EQ(run("sleep 5 & exit 3", redirects), 3);
}

TEST(CaptureTest, SaysWhichProgramIsAbsent) {
  try {
    run_captured({"/usr/no-such-program-at-all"}, {}, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNotFound);
    EXPECT_NE(std::string(error.what()).find("/usr/no-such-program-at-all"), std::string::npos);
  }
}

}  // namespace
}  // namespace athanor::cli
