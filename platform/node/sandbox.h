// A sandbox: a container whose image is the host, made by bubblewrap. The program in it is an ordinary user (uid 1000)
// without any capability, now or in a user namespace of its making (it can make none), in process, IPC, mount, host-name and user namespaces of its own, in the network namespace
// that it is given; everything that it started ends with it.
//
//   agent ── fork: joins user and network namespace, mounts the root (sandbox_root.h) ── exec bwrap
//              bwrap ── process 1 of the sandbox ── athanor-launch, which becomes the program at run()
//
// prepare() and run() must be called on the process's main thread: the kernel kills the sandbox when the thread that
// made it ends. One thread owns a Sandbox.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/descriptor.h"
#include "platform/node/sandbox_root.h"

namespace athanor::node {

struct SandboxSpec {
  SandboxRoot root;
  std::vector<std::uint32_t> cpus;  // empty: all that this process may use
  int user_namespace = -1;          // both or none; none: a network with nothing but lo
  int network_namespace = -1;
  std::uint16_t credentials_port = 9170;  // of 127.0.0.1 inside; see take_credentials_listener()
  std::uint32_t processes_max = 16384;
};

struct Program {
  std::string folder = "/";  // working directory
  std::vector<std::string> arguments;
  std::vector<std::pair<std::string, std::string>> environment;
};

class Sandbox {
 public:
  // Everything but the program, in some 15 ms. Not as root: see JobUser. Throws kUnavailable with what the kernel or bwrap refused.
  static std::unique_ptr<Sandbox> prepare(const SandboxSpec& spec);
  ~Sandbox();  // kills what is left, and waits up to 20 s for its end
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  // What could not be done as promised, for people.
  const std::vector<std::string>& notes() const { return notes_; }
  // A socket that listens on 127.0.0.1:credentials_port inside. Once.
  Descriptor take_credentials_listener() { return std::move(credentials_listener_); }
  // The end to read the program's output from, standard output and error in one; at its end all writers are gone. Once.
  Descriptor take_output() { return std::move(output_); }

  // Returns once the program's first instruction is due. Throws kNotFound or kDenied when there is no such program or
  // it cannot be run: the text is fit for a FailureReason.
  void run(const Program& program);

  // To the program itself. Nothing happens when it has ended.
  void signal(int number);
  // SIGKILL to everything in the sandbox.
  void kill();
  // Becomes readable when the program has ended.
  int ended_descriptor() const { return wrapper_handle_.get(); }
  // Becomes readable when nothing is left of the sandbox: kill() first, for what the program left behind. That takes as
  // long as the kernel needs to free their memory, and their files; a file system that hangs can hold it up.
  int gone_descriptor() const { return first_ ? first_.get() : wrapper_handle_.get(); }
  // Ends what the program left behind, waits until all is gone, and tells the program's exit status or 128 + signal.
  int wait();

 private:
  Sandbox() = default;
  void hear_of_launch(int errors);
  bool wait_until_gone(std::int64_t timeout_ms);
  int collect();

  pid_t wrapper_ = -1;  // bwrap
  Descriptor wrapper_handle_;
  Descriptor program_;  // pidfds
  Descriptor first_;
  Descriptor control_;
  Descriptor output_;
  Descriptor credentials_listener_;
  std::vector<std::string> notes_;
};

}  // namespace athanor::node
