// The few socket operations that the ring needs: non-blocking TCP, deadlines everywhere, errors that name the peer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "common/error.h"

namespace athanor::comm {

// A file descriptor, closed when destroyed.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept;
  ~Socket();
  int fd() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  void close();

 private:
  int fd_ = -1;
};

// A point on the monotonic clock.
class Deadline {
 public:
  static Deadline after_ms(std::int64_t ms);
  // Milliseconds left, at least 0, at most what poll(2) takes.
  int left_ms() const;
  bool over() const { return left_ms() == 0; }

 private:
  std::int64_t at_ns_ = 0;
};

struct HostPort {
  std::string host;
  std::string port;
  std::string text() const;
};
// Parses "HOST:PORT" or "[IPV6]:PORT". Throws kInvalid.
HostPort parse_host_port(std::string_view text);

// The other end of an established connection.
struct Peer {
  Socket socket;
  std::string name;  // "rank 1 (10.0.0.2:41234)"
};

// Listens on all addresses at `port`; "0" lets the system choose.
Socket listen_at(const std::string& port);
int local_port(const Socket& socket);
// The address of the other end, numeric, without the port.
std::string remote_address(const Socket& socket);

// One attempt to connect. Returns a closed socket and fills `why` when nobody answers (worth repeating).
Socket try_connect(const HostPort& to, Deadline deadline, std::string& why);
// A waiting connection, or a closed socket when there is none.
Socket accept_waiting(const Socket& listener);

// Non-blocking, no delay, large buffers, and a probe that notices a vanished machine within about 15 s.
void tune(const Socket& socket);

// Sends what the socket takes now; returns how much (0 when it is full). Throws kUnavailable naming `peer`.
std::size_t send_some(const Peer& peer, const void* bytes, std::size_t size);
// Receives what is there; returns how much (0 when nothing is). Throws kUnavailable when the peer is gone.
std::size_t receive_some(const Peer& peer, void* into, std::size_t size);
// Waits until one of the two can go on; either may be null. Returns false when `deadline` passed first.
bool wait_ready(const Peer* to_send, const Peer* to_receive, Deadline deadline);

// Whole messages for the rendezvous.
void send_all(const Peer& peer, const void* bytes, std::size_t size, Deadline deadline);
void receive_all(const Peer& peer, void* into, std::size_t size, Deadline deadline);

}  // namespace athanor::comm
