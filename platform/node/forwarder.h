// Carries TCP connections from inside a job's network to the server outside, byte for byte. The listening sockets were
// made inside; this process, which stays outside, accepts on them and connects. One thread, one epoll loop; 64 KiB a
// direction and at most kTunnelsMax connections at a time (further ones wait in the listen queue, as
// they do while no descriptor is free).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/descriptor.h"
#include "platform/node/server_place.h"

namespace athanor::node {

class Forwarder {
 public:
  static constexpr std::size_t kTunnelsMax = 1024;
  static constexpr std::size_t kBufferBytes = 64 << 10;

  // `listeners` are non-blocking. `server` outlives it. Throws kInvalid when its host is no IPv4 or IPv6 address.
  Forwarder(std::vector<Descriptor> listeners, const ServerPlace& server);
  ~Forwarder();

  // Until `stop` becomes readable.
  void run(int stop);

 private:
  struct Tunnel;
  void accept_from(int listener);
  void move(Tunnel& tunnel);
  void update_interest(Tunnel& tunnel);
  void watch_no_more(Tunnel& tunnel, std::uint64_t kind);
  void listen_to_all(bool listen);
  int milliseconds_paused() const;

  Descriptor epoll_;
  std::vector<Descriptor> listeners_;
  const ServerPlace& server_;
  bool listening_ = false;
  std::chrono::steady_clock::time_point paused_until_{};  // no descriptor was free
  std::uint64_t next_id_ = 0;
  std::unordered_map<std::uint64_t, std::unique_ptr<Tunnel>> tunnels_;
};

}  // namespace athanor::node
