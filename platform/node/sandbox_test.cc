// Programs in real sandboxes, by bubblewrap and the kernel: what they cannot do, and what they must be able to.
#include "platform/node/sandbox.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include "platform/node/sandbox_guest_for_test.h"

// ThreadSanitizer has a thread of its own in every process, and those with threads may not make user namespaces.
#ifndef __SANITIZE_THREAD__

namespace athanor::node {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;
using Arguments = std::vector<std::string>;

// A data directory with instances, where the build is: one of the few places of the host that jobs see.
class SandboxTest : public testing::Test {
 protected:
  SandboxTest() : data_(fs::current_path() / ("sandbox-test-" + std::to_string(::getpid()))) {
    fs::create_directories(data_ / "instances");
    std::ofstream(data_ / "secret") << "the store's secret\n";
  }
  ~SandboxTest() override {
    guests_.clear();
    for (const auto& entry : fs::directory_iterator(data_ / "instances")) {
      // What the job left has the job's user, and whatever permissions it chose.
      clear_out(entry.path());
    }
    fs::remove_all(data_);
  }

  template <typename Program>
  Guest& start(Program program, Guest::Options options = {}) {
    const std::string folder = data_ / "instances" / std::to_string(guests_.size() + 1);
    guests_.push_back(std::make_unique<Guest>(folder, program, std::move(options)));
    return *guests_.back();
  }
  template <typename Program>
  Guest::Result run(Program program, Guest::Options options = {}) {
    Guest::Result result = start(program, std::move(options)).finish();
    EXPECT_EQ(result.error, "");
    return result;
  }

  struct Net {
    std::optional<JobUser> user;
    JobNetwork network;
    Guest::Options instance(std::size_t index) const { return {&network, user ? user->uid() : 0, index, {}}; }
  };
  static Net make_network(int instances) {
    Net net;
    if (JobUser::needed()) net.user = JobUser::claim();
    net.network = build_network(instances, 9100, net.user ? &*net.user : nullptr);
    return net;
  }

  const fs::path data_;
  std::vector<std::unique_ptr<Guest>> guests_;
};

// Processes of this machine whose command line is `words`.
std::vector<pid_t> processes_of(const std::string& words) {
  std::vector<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "cmdline");
    std::string line;
    std::getline(file, line);  // of a process that has just ended: nothing
    std::replace(line.begin(), line.end(), '\0', ' ');
    if (line == words + " ") found.push_back(std::stoi(name));
  }
  return found;
}

template <typename Condition>
bool soon(const Condition& condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

TEST_F(SandboxTest, TheProgramIsNobodyInParticular) {
  const auto result =
      run("id -u; id -un; echo $HOME; grep -E '^(Cap|NoNewPrivs|Groups)' /proc/self/status; cat /proc/self/uid_map");
  EXPECT_THAT(result.output, testing::StartsWith("1000\nathanor\n/home/athanor\n"));
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}) {
    EXPECT_THAT(result.output, HasSubstr(std::string(set) + ":\t0000000000000000\n"));
  }
  EXPECT_THAT(result.output, HasSubstr("NoNewPrivs:\t1\n"));
  EXPECT_EQ(result.code, 0);
}

TEST_F(SandboxTest, OnTheHostItIsNotRootEither) {
  Guest& guest = start("echo ready; exec sleep 31536001");
  ASSERT_TRUE(guest.said("ready"));
  std::vector<pid_t> found;
  ASSERT_TRUE(soon([&found] { return (found = processes_of("sleep 31536001")).size() == 1; }));
  struct stat info {};
  ASSERT_EQ(::stat(("/proc/" + std::to_string(found.front())).c_str(), &info), 0);
  EXPECT_NE(info.st_uid, 0U);
  if (::geteuid() == 0) {
    EXPECT_GE(info.st_uid, JobUser::kFirst);
    EXPECT_LE(info.st_uid, JobUser::kLast);
  } else {
    EXPECT_EQ(info.st_uid, ::geteuid());
  }
}

TEST_F(SandboxTest, TheHostsSecretsAreNotThere) {
  const std::string mark = "/tmp/athanor-sandbox-mark-" + std::to_string(::getpid());
  std::ofstream(mark) << "x";
  const auto result =
      run("cat /etc/shadow /etc/gshadow 2>/dev/null | grep -c :; ls -A /home /root /tmp /var/tmp /run 2>&1; echo end");
  fs::remove(mark);
  EXPECT_EQ(result.output, "0\n/home:\nathanor\n\n/root:\n\n/run:\nlock\n\n/tmp:\n\n/var/tmp:\nend\n");
}

TEST_F(SandboxTest, TheDataDirectoryAndOtherJobsAreHidden) {
  Guest& other = start("echo treasure > /opt/ml/model/treasure; echo ready; exec sleep 1000");
  ASSERT_TRUE(other.said("ready"));
  const std::string data = data_;
  const auto result = run("ls -A " + data + "; cat " + data + "/secret " + data +
                          "/instances/1/ml/model/treasure; "
                          "cat /opt/ml/model/treasure; find /opt /var /run /tmp /home -name treasure 2>/dev/null; ls "
                          "/opt/ml/model; echo end");
  EXPECT_THAT(result.output, Not(HasSubstr("the store's secret")));
  EXPECT_THAT(result.output, Not(HasSubstr("/treasure\n")));
  EXPECT_THAT(result.output, testing::EndsWith("No such file or directory\nend\n"));
}

TEST_F(SandboxTest, ItCannotGainPower) {
  const auto result =
      run("mount -t tmpfs x /mnt 2>/dev/null && echo mounted; mknod /tmp/disk b 8 0 2>/dev/null && echo made; chroot / "
          "true 2>/dev/null && echo chrooted; "
          "hostname other 2>/dev/null && echo renamed; "
          "(echo 1 > /proc/sys/kernel/panic) 2>/dev/null && echo wrote; ls /dev/sd* /dev/vd* /dev/mem 2>/dev/null; "
          "ip link add d0 type dummy 2>/dev/null && echo linked; echo end");
  EXPECT_EQ(result.output, "end\n");
}

TEST_F(SandboxTest, ItGainsNoCapabilityInAUserNamespaceOfItsOwn) {
  const auto result =
      run("unshare -Urm sh -c 'grep CapEff /proc/self/status; mount -t tmpfs x /mnt && echo MOUNTED' || echo refused; "
          "unshare -U true || echo refused; "
          "(echo 9 > /proc/sys/user/max_user_namespaces) 2>/dev/null; for i in 1 2 3; do unshare -U true 2>/dev/null "
          "&& echo made; done; echo end");
  EXPECT_THAT(result.output, testing::MatchesRegex("unshare: .*\nrefused\nunshare: .*\nrefused\nend\n"));
}

TEST_F(SandboxTest, ItNeitherSeesNorSignalsOthers) {
  Guest& other = start("echo ready; exec sleep 31536002");
  ASSERT_TRUE(other.said("ready"));
  const std::string us = std::to_string(::getpid());
  const auto result = run("ls -d /proc/[0-9]* | wc -l; kill -0 " + us +
                          " 2>&1; pgrep -f 31536002 -a | grep -v pgrep | grep -v bash; "
                          "kill -9 -1; echo $?; ls /proc/1/fd >/dev/null 2>&1 && echo looked; echo end");
  // Process 1, the shell, and ls and wc.
  EXPECT_THAT(result.output, testing::MatchesRegex("[345]\n.*No such process\n(.|\n)*end\n"));
  EXPECT_EQ(processes_of("sleep 31536002").size(), 1U) << "the other one lives";
}

TEST_F(SandboxTest, ExitCodesAndSignals) {
  EXPECT_EQ(run("exit 0").code, 0);
  EXPECT_EQ(run("exit 7").code, 7);
  EXPECT_EQ(run("kill -SEGV $$").code, 128 + SIGSEGV);
  EXPECT_EQ(run(Arguments{"/bin/true"}).code, 0);
}

TEST_F(SandboxTest, SigtermReachesTheProgramItself) {
  Guest& asked = start("trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.02; done");
  ASSERT_TRUE(asked.said("ready"));
  asked.terminate();
  EXPECT_EQ(asked.finish().code, 9);

  Guest& plain = start(Arguments{"/bin/sleep", "1000"});
  plain.terminate();
  EXPECT_EQ(plain.finish().code, 128 + SIGTERM) << "a program that handles nothing dies of it";
}

TEST_F(SandboxTest, WhatTheProgramLeftBehindEndsWithIt) {
  const auto result = run("setsid sleep 31536003 & sleep 31536003 & exit 5");
  EXPECT_EQ(result.code, 5);
  EXPECT_TRUE(soon([] { return processes_of("sleep 31536003").empty(); }));
}

TEST_F(SandboxTest, AnAgentThatIsKilledLeavesNothingRunning) {
  Guest& guest = start("setsid sleep 31536004 & trap '' TERM HUP INT; echo ready; while :; do sleep 31536004; done");
  ASSERT_TRUE(guest.said("ready"));
  ASSERT_TRUE(soon([] { return processes_of("sleep 31536004").size() == 2; }));
  guest.kill_agent();
  EXPECT_TRUE(soon([] { return processes_of("sleep 31536004").empty(); }));
}

// Whether this kernel lays an unprivileged overlay over the host's root that keeps its changes in `folder`. It does not where
// either is an overlay itself, as in most containers.
bool has_overlays(const fs::path& folder) {
  for (const char* name : {"upper", "work", "merged"}) fs::create_directories(folder / name);
  const std::string options =
      "lowerdir=/usr,upperdir=" + (folder / "upper").string() + ",workdir=" + (folder / "work").string() + ",userxattr";
  const pid_t child = ::fork();
  if (child == 0) {
    const bool mounted = ::unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
                         ::mount("overlay", (folder / "merged").c_str(), "overlay", 0, options.c_str()) == 0;
    ::_exit(mounted ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ::chmod((folder / "work/work").c_str(), 0700);  // the kernel's, without permissions
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_F(SandboxTest, WritesToTheRootAreThrownAway) {
  const std::string name = "athanor-sandbox-" + std::to_string(::getpid());
  const std::string in_overlays =
      has_overlays(data_ / "probe") ? "/usr/local/bin /usr/local/lib /var/lib /var/log " : "";
  const auto result = run("for folder in " + in_overlays +
                          "/tmp /var/tmp /dev/shm $HOME /opt/ml/model; do "
                          "echo x > $folder/" +
                          name + " && rm $folder/" + name + " && echo x > $folder/" + name +
                          " || echo cannot in $folder; done; "
                          "echo x > /usr/bin/" +
                          name + " || echo refused; rm -f /bin/ls || echo refused");
  EXPECT_THAT(result.output, Not(HasSubstr("cannot in")));
  EXPECT_THAT(result.output, testing::EndsWith("refused\n")) << "the host's own permissions hold";
  for (const char* folder :
       {"/usr/local/bin/", "/usr/local/lib/", "/var/lib/", "/var/log/", "/tmp/", "/var/tmp/", "/dev/shm/"}) {
    EXPECT_FALSE(fs::exists(folder + name)) << folder;
  }
  EXPECT_TRUE(fs::exists("/bin/ls"));
  EXPECT_EQ(run("cat /usr/local/bin/" + name + " 2>&1 | wc -l; ls /var/log | grep -c " + name).output, "1\n0\n");
}

TEST_F(SandboxTest, OutputArrivesAsItWasWritten) {
  EXPECT_EQ(run("echo one; echo two >&2; printf three").output, "one\ntwo\nthree");
  const auto big = run("head -c 3000000 /dev/zero | tr '\\0' x; printf '\\377\\0\\n'");
  EXPECT_EQ(big.output.size(), 3'000'003U);
  EXPECT_EQ(big.output.substr(3'000'000), std::string("\377\0\n", 3));
}

TEST_F(SandboxTest, ProgramsThatCannotRunAreTold) {
  EXPECT_THAT(start(Arguments{"/nowhere/train"}).finish().error, HasSubstr("\"/nowhere/train\""));
  EXPECT_THAT(start(Arguments{"no-such-program"}).finish().error, HasSubstr("was not found"));
  EXPECT_THAT(start(Arguments{"/etc/hosts"}).finish().error, HasSubstr("cannot be run: Permission denied"));
  EXPECT_THAT(start(Arguments{"/usr"}).finish().error, HasSubstr("cannot be run"));
}

TEST_F(SandboxTest, ProcessorsAreCountedTruthfully) {
  cpu_set_t usable;
  ASSERT_EQ(::sched_getaffinity(0, sizeof usable, &usable), 0);
  std::uint32_t last = 0;
  for (std::uint32_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &usable)) last = cpu;
  }
  EXPECT_EQ(run("nproc; taskset -cp $$ | sed 's/.*: //'", {.cpus = {last}}).output,
            "1\n" + std::to_string(last) + "\n");
}

TEST_F(SandboxTest, WithoutANetworkThereIsLoopbackAlone) {
  EXPECT_EQ(run("ls /sys/class/net; cat /proc/net/dev | grep -c eth0; hostname").output, "lo\n0\nalgo-1\n");
}

constexpr const char* kListen = R"(exec python3 -c "
import socket
s = socket.create_server(('0.0.0.0', 7700))
print('ready', flush=True)
while True:
    c, who = s.accept()
    c.sendall(b'hello ' + who[0].encode())
    c.close()
")";
constexpr const char* kConnect = R"(python3 -c "
import socket
print(socket.create_connection(('algo-1', 7700), 2).makefile().read())
" 2>&1 | tail -1)";

TEST_F(SandboxTest, InstancesOfAJobReachEachOtherByName) {
  const Net net = make_network(2);
  Guest& first = start(kListen, net.instance(0));
  ASSERT_TRUE(first.said("ready"));
  EXPECT_EQ(run(kConnect, net.instance(1)).output, "hello 10.38.0.2\n");
  EXPECT_EQ(run("ls /sys/class/net | xargs; hostname; getent hosts algo-1 algo-2; cat /etc/hostname", net.instance(1))
                .output,
            "eth0 lo\nalgo-2\n10.38.0.1       algo-1\n10.38.0.2       algo-2\nalgo-2\n");
}

TEST_F(SandboxTest, JobsDoNotMeet) {
  const Net one = make_network(1);
  const Net two = make_network(1);
  Guest& first = start(kListen, one.instance(0));
  ASSERT_TRUE(first.said("ready"));
  EXPECT_THAT(run(kConnect, two.instance(0)).output, HasSubstr("Connection refused")) << "algo-1 is itself here";
  Guest& second = start(kListen, two.instance(0));
  EXPECT_TRUE(second.said("ready")) << "on the same port, without a conflict";
}

TEST_F(SandboxTest, TheHostsServicesAreOutOfReach) {
  Descriptor listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  socklen_t size = sizeof address;
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
  const Net net = make_network(1);
  const std::string port = std::to_string(ntohs(address.sin_port));
  EXPECT_EQ(run("for host in 127.0.0.1 10.38.0.1 169.254.170.2 8.8.8.8; do timeout 2 bash -c \"</dev/tcp/$host/" +
                    port + "\" 2>/dev/null && echo reached $host; done; echo end",
                net.instance(0))
                .output,
            "end\n");
}

TEST_F(SandboxTest, NothingStaysMounted) {
  const auto mounts = [] {
    std::ifstream file("/proc/self/mountinfo");
    return std::string((std::istreambuf_iterator<char>(file)), {});
  };
  const std::string before = mounts();
  run("true");
  Guest& guest = start("echo ready; exec sleep 1000");
  ASSERT_TRUE(guest.said("ready"));
  EXPECT_EQ(mounts(), before) << "nor while it runs";
  guest.kill_agent();
  EXPECT_EQ(mounts(), before);
}

}  // namespace
}  // namespace athanor::node

#endif
