// For tests: one program in a real sandbox, prepared as the agent does it, by a process of its own.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "common/descriptor_passing.h"
#include "common/error.h"
#include "common/files.h"
#include "platform/node/contract_files.h"
#include "platform/node/instance_home.h"
#include "platform/node/namespaces.h"
#include "platform/node/network.h"
#include "platform/node/sandbox.h"

namespace athanor::node {

class Guest {
 public:
  struct Options {
    const JobNetwork* network = nullptr;
    std::uint32_t uid = 0;  // of the network
    std::size_t index = 0;
    std::vector<std::uint32_t> cpus;
  };

  // `folder` is the instance's, as compute would have made it.
  Guest(const std::string& folder, std::vector<std::string> arguments, Options options) : folder_(folder) {
    std::filesystem::create_directories(folder);
    std::filesystem::permissions(folder, std::filesystem::perms::owner_all);
    int output[2];
    if (::pipe2(output, O_CLOEXEC) != 0) throw system_error(errno, "making a pipe");
    Descriptor write_end(output[1]);
    output_ = Descriptor(output[0]);
    SocketPair sockets = make_socket_pair(SOCK_SEQPACKET);
    const int control = sockets.theirs.get();
    const auto fail = [control](const std::string& why) { send_with_descriptors(control, "E" + why, {}); };
    agent_ = fork_child([&] { be_agent(std::move(arguments), options, control, write_end.get()); }, fail);
    control_ = std::move(sockets.ours);
  }
  Guest(const std::string& folder, const std::string& script, Options options)
      : Guest(folder, std::vector<std::string>{"/bin/bash", "-c", script}, std::move(options)) {}
  Guest(const Guest&) = delete;
  ~Guest() { kill_agent(); }

  const std::string& folder() const { return folder_; }

  // Reads until the output has `text`; false when it ended, or 20 s passed, before.
  bool said(const std::string& text) {
    while (text_.find(text) == std::string::npos) {
      if (!read_some()) return false;
    }
    return true;
  }
  void terminate() { send_with_descriptors(control_.get(), "T", {}); }

  struct Result {
    int code = -1;
    std::string output;
    std::string error;  // of the sandbox
  };
  Result finish() {
    while (read_some()) {
    }
    Result result;
    result.output = text_;
    const Received word = receive_with_descriptors(control_.get(), 4096, 20'000);
    if (word.bytes.starts_with('C')) result.code = std::stoi(word.bytes.substr(1));
    if (word.bytes.starts_with('E')) result.error = word.bytes.substr(1);
    return result;
  }

  // kill -9, as if the agent had been killed.
  void kill_agent() {
    if (agent_ <= 0) return;
    ::kill(agent_, SIGKILL);
    while (::waitpid(agent_, nullptr, 0) < 0 && errno == EINTR) {
    }
    agent_ = -1;
  }

 private:
  bool read_some() {
    pollfd ready{output_.get(), POLLIN, 0};
    if (::poll(&ready, 1, 20'000) <= 0) return false;
    std::array<char, 65536> piece;
    const ssize_t got = ::read(output_.get(), piece.data(), piece.size());
    if (got <= 0) return false;
    text_.append(piece.data(), static_cast<std::size_t>(got));
    return true;
  }

  void be_agent(std::vector<std::string> arguments, const Options& options, int control, int output) const {
    ::signal(SIGPIPE, SIG_IGN);
    InstanceHome home = move_in(folder_, options.uid);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that crashes leaves nothing
    Prepare prepare;
    prepare.job.name = "a-job";
    prepare.job.image = "athanor/script";
    prepare.job.entrypoint = std::move(arguments);
    prepare.instance.index = static_cast<std::uint32_t>(options.index);
    prepare.instance.count =
        options.network == nullptr ? 1 : static_cast<std::uint32_t>(options.network->instances.size());
    SystemFiles files;
    write_contract_files(files, home.folder + "/ml", prepare);

    SandboxSpec spec;
    spec.root = {.folder = home.folder,
                 .programs = home.programs,
                 .host = prepare.instance.host(),
                 .hidden = home.hidden};
    spec.cpus = options.cpus;
    if (options.network != nullptr) {
      spec.user_namespace = options.network->user_namespace.get();
      spec.network_namespace = options.network->instances[options.index].network_namespace.get();
      std::uint32_t number = 0;
      for (const InstanceNetwork& instance : options.network->instances) {
        spec.root.hosts.emplace_back(instance.address, Instance::host_name(number++));
      }
    }
    const std::unique_ptr<Sandbox> sandbox = Sandbox::prepare(spec);
    const Descriptor from = sandbox->take_output();
    sandbox->run(contract_program(prepare, "http://169.254.170.2:9100"));

    std::array<pollfd, 2> ready{{{from.get(), POLLIN, 0}, {control, POLLIN, 0}}};
    std::array<char, 65536> piece;
    for (;;) {
      ::poll(ready.data(), ready.size(), 100);
      if ((ready[1].revents & POLLIN) != 0) {
        if (receive_with_descriptors(control, 16, 0).bytes != "T") return;
        sandbox->signal(SIGTERM);
      }
      // What the program leaves running keeps the pipe open until the sandbox ends.
      pollfd ended{sandbox->ended_descriptor(), POLLIN, 0};
      const bool last = ::poll(&ended, 1, 0) == 1;
      ssize_t got = 0;
      while ((got = ::read(from.get(), piece.data(), piece.size())) > 0) {
        if (::write(output, piece.data(), static_cast<std::size_t>(got)) != got) return;
      }
      if (got == 0 || last) break;
    }
    send_with_descriptors(control, "C" + std::to_string(sandbox->wait()), {});
  }

  const std::string folder_;
  Descriptor output_;
  Descriptor control_;
  pid_t agent_ = -1;
  std::string text_;
};

}  // namespace athanor::node
