#include "engine/comm/socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace athanor::comm {

namespace {

// The kernel clamps these to its own limits; unset, a ring step of some MB would wake both sides far too often.
constexpr int kSocketBufferBytes = 4 << 20;
constexpr int kSilentProbeAfter_s = 5;
constexpr int kProbeInterval_s = 2;
constexpr int kProbesLost = 5;

std::int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

void set_option(const Socket& socket, int level, int option, int value) {
  // Tuning only: a kernel without the option still carries the bytes.
  (void)::setsockopt(socket.fd(), level, option, &value, sizeof value);
}

Error lost(const Peer& peer, int error_number) {
  if (error_number == 0) {
    return Error(ErrorKind::kUnavailable,
                 "{} closed the connection: it has ended, or failed because another rank did; look at its output",
                 peer.name);
  }
  return Error(ErrorKind::kUnavailable, "the connection to {} broke: {}; look at its output", peer.name,
               std::strerror(error_number));
}

struct FreeAddresses {
  void operator()(addrinfo* addresses) const { ::freeaddrinfo(addresses); }
};

}  // namespace

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

Socket::~Socket() { close(); }

void Socket::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Deadline Deadline::after_ms(std::int64_t ms) {
  Deadline deadline;
  deadline.at_ns_ = now_ns() + std::min<std::int64_t>(ms, 1'000'000'000) * 1'000'000;
  return deadline;
}

int Deadline::left_ms() const {
  const std::int64_t left = at_ns_ - now_ns();
  if (left <= 0) return 0;
  return static_cast<int>(std::min<std::int64_t>((left + 999'999) / 1'000'000, 1'000'000'000));
}

std::string HostPort::text() const {
  return host.find(':') == std::string::npos ? host + ":" + port : "[" + host + "]:" + port;
}

HostPort parse_host_port(std::string_view text) {
  const auto colon = text.rfind(':');
  HostPort parsed;
  if (colon != std::string_view::npos) {
    parsed.host = std::string(text.substr(0, colon));
    parsed.port = std::string(text.substr(colon + 1));
    if (parsed.host.size() > 2 && parsed.host.front() == '[' && parsed.host.back() == ']') {
      parsed.host = parsed.host.substr(1, parsed.host.size() - 2);
    }
  }
  const bool digits = !parsed.port.empty() && parsed.port.size() <= 5 &&
                      std::all_of(parsed.port.begin(), parsed.port.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (parsed.host.empty() || !digits || std::stoi(parsed.port) > 65535) {
    throw Error(ErrorKind::kInvalid, "the rendezvous address '{}' is not HOST:PORT, such as algo-1:7700",
                std::string(text));
  }
  return parsed;
}

Socket listen_at(const std::string& port) {
  // One socket for IPv6 and IPv4 where the machine has IPv6, else IPv4 alone.
  for (const int family : {AF_INET6, AF_INET}) {
    addrinfo hints{};
    hints.ai_family = family;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    addrinfo* found = nullptr;
    if (::getaddrinfo(nullptr, port.c_str(), &hints, &found) != 0) continue;
    const std::unique_ptr<addrinfo, FreeAddresses> addresses(found);
    Socket socket(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!socket.open()) continue;
    set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1);
    if (family == AF_INET6) set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    set_option(socket, SOL_SOCKET, SO_RCVBUF, kSocketBufferBytes);
    if (::bind(socket.fd(), addresses->ai_addr, addresses->ai_addrlen) == 0 && ::listen(socket.fd(), 1024) == 0) {
      return socket;
    }
    const int why = errno;
    if (why != EADDRNOTAVAIL && why != EAFNOSUPPORT) {
      throw system_error(why, "listening for the other ranks at port " + port);
    }
  }
  throw Error(ErrorKind::kUnavailable, "listening for the other ranks at port {}: this machine has no usable network",
              port);
}

int local_port(const Socket& socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw system_error(errno, "reading the port of a listening socket");
  }
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                             : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
}

std::string remote_address(const Socket& socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  char host[NI_MAXHOST] = "";
  if (::getpeername(socket.fd(), reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      ::getnameinfo(reinterpret_cast<sockaddr*>(&address), size, host, sizeof host, nullptr, 0, NI_NUMERICHOST) != 0) {
    return "";
  }
  const std::string_view text = host;
  // An IPv4 peer of a socket for both: name it as IPv4.
  return std::string(text.substr(0, 7) == "::ffff:" ? text.substr(7) : text);
}

Socket try_connect(const HostPort& to, Deadline deadline, std::string& why) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int resolved = ::getaddrinfo(to.host.c_str(), to.port.c_str(), &hints, &found);
  if (resolved != 0) {
    why = std::string("cannot resolve '") + to.host + "': " + ::gai_strerror(resolved);
    return Socket();
  }
  const std::unique_ptr<addrinfo, FreeAddresses> addresses(found);
  for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
    Socket socket(::socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!socket.open()) {
      why = std::strerror(errno);
      continue;
    }
    set_option(socket, SOL_SOCKET, SO_RCVBUF, kSocketBufferBytes);
    if (::connect(socket.fd(), address->ai_addr, address->ai_addrlen) != 0 && errno != EINPROGRESS) {
      why = std::strerror(errno);
      continue;
    }
    pollfd waiting{socket.fd(), POLLOUT, 0};
    int ready;
    do {
      ready = ::poll(&waiting, 1, std::min(deadline.left_ms(), 5'000));
    } while (ready < 0 && errno == EINTR);
    int failed = 0;
    socklen_t size = sizeof failed;
    if (ready == 0) {
      why = "no answer";
    } else if (::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &failed, &size) != 0 || failed != 0) {
      why = std::strerror(failed != 0 ? failed : errno);
    } else {
      tune(socket);
      return socket;
    }
  }
  return Socket();
}

Socket accept_waiting(const Socket& listener) {
  Socket socket(::accept4(listener.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (socket.open()) tune(socket);
  return socket;
}

void tune(const Socket& socket) {
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(socket, SOL_SOCKET, SO_SNDBUF, kSocketBufferBytes);
  set_option(socket, SOL_SOCKET, SO_RCVBUF, kSocketBufferBytes);
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, kSilentProbeAfter_s);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, kProbeInterval_s);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, kProbesLost);
}

std::size_t send_some(const Peer& peer, const void* bytes, std::size_t size) {
  for (;;) {
    const ssize_t sent = ::send(peer.socket.fd(), bytes, size, MSG_NOSIGNAL);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
    if (errno != EINTR) throw lost(peer, errno == EPIPE ? 0 : errno);
  }
}

std::size_t receive_some(const Peer& peer, void* into, std::size_t size) {
  for (;;) {
    const ssize_t received = ::recv(peer.socket.fd(), into, size, 0);
    if (received > 0) return static_cast<std::size_t>(received);
    if (received == 0) throw lost(peer, 0);
    if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
    if (errno != EINTR) throw lost(peer, errno == ECONNRESET ? 0 : errno);
  }
}

bool wait_ready(const Peer* to_send, const Peer* to_receive, Deadline deadline) {
  pollfd waiting[2];
  nfds_t count = 0;
  if (to_send != nullptr) waiting[count++] = {to_send->socket.fd(), POLLOUT, 0};
  if (to_receive != nullptr) waiting[count++] = {to_receive->socket.fd(), POLLIN, 0};
  for (;;) {
    const int ready = ::poll(waiting, count, deadline.left_ms());
    if (ready > 0) return true;
    if (ready == 0) return false;
    if (errno != EINTR) throw system_error(errno, "waiting for the other ranks");
  }
}

void send_all(const Peer& peer, const void* bytes, std::size_t size, Deadline deadline) {
  const char* at = static_cast<const char*>(bytes);
  while (size > 0) {
    const std::size_t sent = send_some(peer, at, size);
    at += sent;
    size -= sent;
    if (size > 0 && sent == 0 && !wait_ready(&peer, nullptr, deadline)) {
      throw Error(ErrorKind::kUnavailable, "{} took no data in time", peer.name);
    }
  }
}

void receive_all(const Peer& peer, void* into, std::size_t size, Deadline deadline) {
  char* at = static_cast<char*>(into);
  while (size > 0) {
    const std::size_t received = receive_some(peer, at, size);
    at += received;
    size -= received;
    if (size > 0 && received == 0 && !wait_ready(nullptr, &peer, deadline)) {
      throw Error(ErrorKind::kUnavailable, "{} did not answer in time", peer.name);
    }
  }
}

}  // namespace athanor::comm
