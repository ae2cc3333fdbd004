#include "platform/node/forwarder.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "common/error.h"
#include "common/log.h"

namespace athanor::node {

namespace {

// What an epoll event is about: the stop descriptor, a listener, or one end of a tunnel.
constexpr std::uint64_t kStop = 0;
constexpr std::uint64_t kListener = 1;
constexpr std::uint64_t kInner = 2;
constexpr std::uint64_t kOuter = 3;
std::uint64_t tag(std::uint64_t kind, std::uint64_t number) { return number << 2 | kind; }

constexpr std::chrono::milliseconds kShortagePause{100};
bool is_shortage(int error) { return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM; }

// Bytes under way in one direction.
struct Flow {
  std::vector<char> bytes = std::vector<char>(Forwarder::kBufferBytes);
  std::size_t begin = 0;
  std::size_t end = 0;
  bool source_ended = false;
  bool sink_ended = false;

  bool empty() const { return begin == end; }
  bool wants_input() const { return !source_ended && empty(); }

  // Moves what can be moved now. Returns false when the connection is broken.
  bool move(int source, int sink) {
    for (int round = 0; round < 8; ++round) {
      if (wants_input()) {
        const ssize_t got = ::recv(source, bytes.data(), bytes.size(), 0);
        if (got < 0) return errno == EAGAIN || errno == EINTR;
        begin = 0;
        end = static_cast<std::size_t>(got);
        if (got == 0) source_ended = true;
      }
      if (!empty()) {
        const ssize_t put = ::send(sink, bytes.data() + begin, end - begin, MSG_NOSIGNAL);
        if (put < 0) return errno == EAGAIN || errno == EINTR;
        begin += static_cast<std::size_t>(put);
      }
      if (empty() && source_ended) {
        if (!sink_ended) ::shutdown(sink, SHUT_WR);
        sink_ended = true;
        return true;
      }
    }
    return true;
  }
};

// A sockaddr, as bytes.
std::string socket_address(const wire::Endpoint& of) {
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  if (::inet_pton(AF_INET, of.host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(of.port);
    return {reinterpret_cast<const char*>(&v4), sizeof v4};
  }
  if (::inet_pton(AF_INET6, of.host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(of.port);
    return {reinterpret_cast<const char*>(&v6), sizeof v6};
  }
  throw Error(ErrorKind::kInvalid, "forwarding to {}: give an address, not a name", of.host);
}

}  // namespace

struct Forwarder::Tunnel {
  std::uint64_t id = 0;
  Descriptor inner;
  Descriptor outer;
  bool connecting = true;
  bool broken = false;
  Flow out;   // inner → outer
  Flow back;  // outer → inner
  std::uint32_t inner_interest = 0;
  std::uint32_t outer_interest = 0;
  bool inner_hung_up = false;  // and is watched no more
  bool outer_hung_up = false;
};

Forwarder::Forwarder(std::vector<Descriptor> listeners, const ServerPlace& server)
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), listeners_(std::move(listeners)), server_(server) {
  if (!epoll_) throw system_error(errno, "making an epoll descriptor");
  socket_address(server_.now());
}

Forwarder::~Forwarder() = default;

void Forwarder::listen_to_all(bool listen) {
  if (listen == listening_) return;
  listening_ = listen;
  for (std::size_t i = 0; i < listeners_.size(); ++i) {
    epoll_event event{EPOLLIN, {}};
    event.data.u64 = tag(kListener, i);
    ::epoll_ctl(epoll_.get(), listen ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listeners_[i].get(), &event);
  }
}

void Forwarder::accept_from(int listener) {
  const std::string place = socket_address(server_.now());
  const auto* address = reinterpret_cast<const sockaddr*>(place.data());
  // The outer end first: a connection that nothing can be made for stays in the queue.
  Descriptor outer(::socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  Descriptor inner(outer ? ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC) : -1);
  if (!inner) {
    // A listener that is not accepted from is told of for ever.
    if (is_shortage(errno)) paused_until_ = std::chrono::steady_clock::now() + kShortagePause;
    return;
  }
  const int on = 1;
  ::setsockopt(inner.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(outer.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(outer.get(), address, static_cast<socklen_t>(place.size())) != 0 && errno != EINPROGRESS) return;
  auto tunnel = std::make_unique<Tunnel>();
  tunnel->id = next_id_++;
  tunnel->inner = std::move(inner);
  tunnel->outer = std::move(outer);
  epoll_event event{0, {}};
  event.data.u64 = tag(kInner, tunnel->id);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, tunnel->inner.get(), &event);
  event.data.u64 = tag(kOuter, tunnel->id);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, tunnel->outer.get(), &event);
  update_interest(*tunnel);
  tunnels_.emplace(tunnel->id, std::move(tunnel));
}

int Forwarder::milliseconds_paused() const {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(paused_until_ - std::chrono::steady_clock::now());
  return static_cast<int>(std::max<std::int64_t>(left.count(), 0));
}

void Forwarder::move(Tunnel& tunnel) {
  if (tunnel.connecting) {
    int failure = 0;
    socklen_t size = sizeof failure;
    ::getsockopt(tunnel.outer.get(), SOL_SOCKET, SO_ERROR, &failure, &size);
    sockaddr_storage peer;
    socklen_t peer_size = sizeof peer;
    tunnel.broken = failure != 0;
    if (::getpeername(tunnel.outer.get(), reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0) return;
    tunnel.connecting = false;
  }
  tunnel.broken = !tunnel.out.move(tunnel.inner.get(), tunnel.outer.get()) ||
                  !tunnel.back.move(tunnel.outer.get(), tunnel.inner.get());
}

// An end that hung up in both directions is told of for ever, whatever is asked for; all that it sent is in its socket, to
// be read as the other end takes it.
void Forwarder::watch_no_more(Tunnel& tunnel, std::uint64_t kind) {
  (kind == kInner ? tunnel.inner_hung_up : tunnel.outer_hung_up) = true;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, kind == kInner ? tunnel.inner.get() : tunnel.outer.get(), nullptr);
}

void Forwarder::update_interest(Tunnel& tunnel) {
  std::uint32_t inner = 0;
  std::uint32_t outer = 0;
  if (tunnel.connecting) {
    outer = EPOLLOUT;
  } else {
    if (tunnel.out.wants_input()) inner |= EPOLLIN;
    if (!tunnel.back.empty() || (tunnel.outer_hung_up && !tunnel.back.source_ended)) inner |= EPOLLOUT;
    if (tunnel.back.wants_input()) outer |= EPOLLIN;
    if (!tunnel.out.empty() || (tunnel.inner_hung_up && !tunnel.out.source_ended)) outer |= EPOLLOUT;
  }
  epoll_event event{};
  if (!tunnel.inner_hung_up && inner != tunnel.inner_interest) {
    event.events = tunnel.inner_interest = inner;
    event.data.u64 = tag(kInner, tunnel.id);
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, tunnel.inner.get(), &event);
  }
  if (!tunnel.outer_hung_up && outer != tunnel.outer_interest) {
    event.events = tunnel.outer_interest = outer;
    event.data.u64 = tag(kOuter, tunnel.id);
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, tunnel.outer.get(), &event);
  }
}

void Forwarder::run(int stop) {
  epoll_event event{EPOLLIN, {}};
  event.data.u64 = tag(kStop, 0);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, stop, &event) != 0) throw system_error(errno, "watching for the end");
  std::array<epoll_event, 64> events;
  for (;;) {
    const int paused_ms = milliseconds_paused();
    listen_to_all(paused_ms == 0 && tunnels_.size() < kTunnelsMax);
    const int count =
        ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), paused_ms > 0 ? paused_ms : -1);
    if (count < 0 && errno != EINTR) throw system_error(errno, "waiting for connections");
    for (int i = 0; i < count; ++i) {
      const std::uint64_t what = events[static_cast<std::size_t>(i)].data.u64 & 3;
      const std::uint64_t number = events[static_cast<std::size_t>(i)].data.u64 >> 2;
      if (what == kStop) return;
      if (what == kListener) {
        if (tunnels_.size() < kTunnelsMax) accept_from(listeners_[number].get());
        continue;
      }
      const auto found = tunnels_.find(number);
      if (found == tunnels_.end()) continue;
      Tunnel& tunnel = *found->second;
      move(tunnel);
      const std::uint32_t flags = events[static_cast<std::size_t>(i)].events;
      if (tunnel.broken || (flags & EPOLLERR) != 0 || (tunnel.out.sink_ended && tunnel.back.sink_ended)) {
        tunnels_.erase(found);
      } else {
        if ((flags & EPOLLHUP) != 0) watch_no_more(tunnel, what);
        update_interest(tunnel);
      }
    }
  }
}

}  // namespace athanor::node
