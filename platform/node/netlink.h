// The handful of rtnetlink requests that make a job's network, in the network namespace of the calling process.
// ip(8) would cost a process each.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/descriptor.h"

namespace athanor::node {

class Netlink {
 public:
  // The socket belongs to the network namespace that the process is in now. Throws as all calls do, naming the request.
  Netlink();

  void make_bridge(const std::string& name, int index);
  // A pair of joined interfaces: `name` here, `peer_name` (numbered `peer_index`) in the namespace `peer_namespace`.
  void make_pair(const std::string& name, int index, const std::string& peer_name, int peer_index, int peer_namespace);
  void add_address(int index, std::uint32_t address, int prefix_length);  // address in host byte order
  // Up, and, with `master` > 0, a port of that bridge.
  void set_up(int index, int master = 0);

 private:
  class Request;
  void run(Request& request, std::string_view doing);

  Descriptor socket_;
  std::uint32_t sequence_ = 0;
};

}  // namespace athanor::node
