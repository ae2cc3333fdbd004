#include "platform/cli/resolver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <optional>
#include <sstream>

#include "common/error.h"
#include "platform/cli/dns.h"

namespace athanor::cli {
namespace {

constexpr std::size_t kMessageBytesMax = 65535;
constexpr std::size_t kServersMax = 3;  // as resolv.conf(5)
constexpr int kUpstreamTimeout_ms = 2'000;
constexpr int kBindTriesMax = 20;

sockaddr_in loopback(std::uint16_t port, std::uint32_t address = INADDR_LOOPBACK) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(address);
  to.sin_port = htons(port);
  return to;
}

const sockaddr* generic(const sockaddr_in& address) { return reinterpret_cast<const sockaddr*>(&address); }

void set_timeouts(int descriptor) {
  const timeval limit{kUpstreamTimeout_ms / 1000, (kUpstreamTimeout_ms % 1000) * 1000};
  setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

// One DNS message on a TCP connection: two bytes of length, then the message. Empty when it did not come.
std::string read_message(int descriptor) {
  unsigned char length_bytes[2];
  if (recv(descriptor, length_bytes, 2, MSG_WAITALL) != 2) return {};
  std::string message(static_cast<std::size_t>(length_bytes[0] << 8 | length_bytes[1]), '\0');
  if (recv(descriptor, message.data(), message.size(), MSG_WAITALL) != static_cast<ssize_t>(message.size())) return {};
  return message;
}

bool write_message(int descriptor, const std::string& message) {
  std::string framed;
  framed += static_cast<char>(message.size() >> 8);
  framed += static_cast<char>(message.size() & 0xff);
  framed += message;
  return send(descriptor, framed.data(), framed.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(framed.size());
}

// Waits for `descriptor`; false when `stop` was raised first.
bool wait_readable(int descriptor, int stop) {
  while (true) {
    pollfd both[2] = {{descriptor, POLLIN, 0}, {stop, POLLIN, 0}};
    if (poll(both, 2, -1) < 0 && errno != EINTR) return false;
    if (both[1].revents) return false;
    if (both[0].revents) return true;
  }
}

}  // namespace

Resolver::Resolver(std::vector<std::string> domains, std::uint32_t address, std::vector<std::uint32_t> upstream)
    : domains_(std::move(domains)), address_(address), upstream_(std::move(upstream)) {
  stop_ = eventfd(0, EFD_CLOEXEC);
  // A port that is free for UDP may be taken for TCP: try another.
  for (int tries = 0; tries < kBindTriesMax; ++tries) {
    udp_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    tcp_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at = loopback(0);
    socklen_t length = sizeof at;
    if (bind(udp_, generic(at), sizeof at) == 0 && getsockname(udp_, reinterpret_cast<sockaddr*>(&at), &length) == 0 &&
        bind(tcp_, generic(at), sizeof at) == 0 && listen(tcp_, 16) == 0) {
      port_ = ntohs(at.sin_port);
      break;
    }
    close(udp_);
    close(tcp_);
  }
  if (port_ == 0) {
    close(stop_);
    throw Error(ErrorKind::kUnavailable, "Starting the resolver: no free port on 127.0.0.1. Close some programs.");
  }
  // Signals are for the thread that made us.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  threads_.emplace_back([this] { serve_udp(); });
  threads_.emplace_back([this] { serve_tcp(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Resolver::~Resolver() {
  eventfd_write(stop_, 1);
  for (std::thread& thread : threads_) thread.join();
  close(udp_);
  close(tcp_);
  close(stop_);
}

void Resolver::serve_udp() {
  std::string buffer(kMessageBytesMax, '\0');
  while (wait_readable(udp_, stop_)) {
    sockaddr_in from{};
    socklen_t length = sizeof from;
    const ssize_t got =
        recvfrom(udp_, buffer.data(), buffer.size(), MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &length);
    if (got <= 0) continue;
    const std::string reply = answer(buffer.substr(0, static_cast<std::size_t>(got)), false);
    if (!reply.empty()) sendto(udp_, reply.data(), reply.size(), MSG_NOSIGNAL, generic(from), length);
  }
}

void Resolver::serve_tcp() {
  while (wait_readable(tcp_, stop_)) {
    const int peer = accept4(tcp_, nullptr, nullptr, SOCK_CLOEXEC);
    if (peer < 0) continue;
    set_timeouts(peer);
    const std::string reply = answer(read_message(peer), true);
    if (!reply.empty()) write_message(peer, reply);
    close(peer);
  }
}

std::string Resolver::answer(const std::string& query, bool over_tcp) const {
  const std::optional<DnsQuestion> question = read_dns_question(query);
  if (!question) return {};
  for (const std::string& domain : domains_) {
    if (question->name != domain && !question->name.ends_with("." + domain)) continue;
    const bool has_address = question->type == kDnsTypeA || question->type == kDnsTypeAny;
    return make_dns_answer(query, *question, has_address ? std::optional(address_) : std::nullopt, DnsCode::kNoError);
  }
  std::string reply = ask_upstream(query, over_tcp);
  if (reply.empty()) reply = make_dns_answer(query, *question, {}, DnsCode::kServerFailure);
  return reply;
}

std::string Resolver::ask_upstream(const std::string& query, bool over_tcp) const {
  for (const std::uint32_t server : upstream_) {
    const int descriptor = socket(AF_INET, (over_tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return {};
    set_timeouts(descriptor);
    std::string reply;
    const sockaddr_in to = loopback(53, server);
    if (connect(descriptor, generic(to), sizeof to) == 0) {
      if (over_tcp) {
        if (write_message(descriptor, query)) reply = read_message(descriptor);
      } else if (send(descriptor, query.data(), query.size(), MSG_NOSIGNAL) >= 0) {
        reply.resize(kMessageBytesMax);
        const ssize_t got = recv(descriptor, reply.data(), reply.size(), 0);
        reply.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
      }
    }
    close(descriptor);
    const bool is_answer_to_it = reply.size() >= 12 && reply.compare(0, 2, query, 0, 2) == 0;
    if (is_answer_to_it) return reply;
  }
  return {};
}

std::vector<std::uint32_t> read_nameservers(const std::string& path) {
  std::vector<std::uint32_t> found;
  std::ifstream file(path);
  std::string line;
  while (found.size() < kServersMax && std::getline(file, line)) {
    std::istringstream words(line);
    std::string keyword, address;
    in_addr parsed{};
    if (words >> keyword >> address && keyword == "nameserver" && inet_pton(AF_INET, address.c_str(), &parsed) == 1) {
      found.push_back(ntohl(parsed.s_addr));
    }
  }
  return found;
}

}  // namespace athanor::cli
