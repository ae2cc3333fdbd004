// A job's network on one machine, held by a process of its own (`athanor-agent network`): per instance a network
// namespace with lo and eth0, behind them a bridge in one more namespace, nothing that leads to the host or to another
// job. The one way out is our endpoint, at kEndpointAddress inside every instance, carried by a Forwarder.
//
//   algo-1: lo 127.0.0.1, 169.254.170.2   eth0 10.38.0.1 ─┐
//   algo-2: lo 127.0.0.1, 169.254.170.2   eth0 10.38.0.2 ─┴─ br0 (hub, no address)
//
// All of it belongs to a user namespace owned by the job's user, so it needs no root: as root the holder becomes the
// job's user first. The namespaces live as long as some process or descriptor holds them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/descriptor.h"
#include "platform/node/server_place.h"

namespace athanor::node {

class JobUser;

inline constexpr const char* kEndpointAddress = "169.254.170.2";
inline constexpr int kNetworkInstancesMax = 1023;  // ports of one Linux bridge

struct InstanceNetwork {
  Descriptor network_namespace;
  Descriptor listener;  // non-blocking, at kEndpointAddress:PORT inside
  std::string address;  // of eth0
};

struct JobNetwork {
  Descriptor user_namespace;
  Descriptor hub;  // the eth0s' other ends live in it: they vanish with it
  std::vector<InstanceNetwork> instances;
};

// Makes the namespaces in a child process (which becomes `user` first, when given) and returns what holds them.
// Throws what the kernel refused. Call before any thread exists.
JobNetwork build_network(int instances, std::uint16_t port, const JobUser* user);

// The process `athanor-agent network`: builds, writes DIR/ready.json, forwards until SIGTERM.
struct NetworkHolderOptions {
  std::string state;  // DIR
  int instances = 1;
  ServerPlace server;  // its present port is that of the endpoint inside, for as long as the network lives
};
void run_network_holder(const NetworkHolderOptions& options);

// A job's network as its agents see it: ready.json, with the namespaces opened.
struct NetworkView {
  Descriptor user_namespace;
  std::vector<Descriptor> network_namespaces;  // of algo-1 … algo-N
  std::vector<std::string> addresses;          // likewise
  std::string endpoint;                        // http://169.254.170.2:PORT
  std::uint32_t uid = 0;                       // the job's user; 0 when the network was made by an ordinary user
};
// To be called while this process still may open them. Throws kUnavailable when the holder is gone.
NetworkView open_network(const std::string& ready_file);

}  // namespace athanor::node
