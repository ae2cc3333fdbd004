// The agent: one process an instance. Drives agent_machine.h by what the server says and what becomes of the job, and
// carries out its effects. Lives on while the server is away; ends when it is released. It is never started twice: when it
// dies, so does the program, and the server fails the job.
//
// One thread runs everything that must not wait (and makes the sandbox, see there); copying from and to S3 happens on a
// worker thread, one piece of work at a time, and checkpoints have a thread of their own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "platform/node/instance_home.h"
#include "platform/node/network.h"
#include "platform/node/server_place.h"

namespace athanor::node {

struct AgentOptions {
  std::string instance;
  std::string token;
  ServerPlace server;
  std::string ca;  // PEM, for https
  InstanceHome home;
  std::optional<NetworkView> network;
  std::vector<std::uint32_t> cpus;
  std::uint64_t spool_bytes_max = 1 << 30;
};

class Agent {
 public:
  explicit Agent(AgentOptions options);
  ~Agent();
  // Until released.
  void run();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace athanor::node
