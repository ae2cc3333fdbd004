// The name server of `athanor exec`: every name below the given domains is one address, all other names are asked of
// the machine's own name servers. UDP and TCP on one loopback port, two threads of its own.
#pragma once

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace athanor::cli {

class Resolver {
 public:
  // Listens at once. `upstream` are IPv4 addresses in host order, asked in turn. Throws athanor::Error when no loopback
  // port can be had.
  Resolver(std::vector<std::string> domains, std::uint32_t address, std::vector<std::uint32_t> upstream);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  std::uint16_t port() const { return port_; }

 private:
  void serve_udp();
  void serve_tcp();
  // The answer to `query`, from us or from upstream; empty when it is no query.
  std::string answer(const std::string& query, bool over_tcp) const;
  std::string ask_upstream(const std::string& query, bool over_tcp) const;

  const std::vector<std::string> domains_;
  const std::uint32_t address_;
  const std::vector<std::uint32_t> upstream_;
  int udp_ = -1;
  int tcp_ = -1;
  int stop_ = -1;  // an eventfd that the destructor raises
  std::uint16_t port_ = 0;
  std::vector<std::thread> threads_;
};

// The IPv4 name servers of a resolv.conf, at most three, in host order.
std::vector<std::uint32_t> read_nameservers(const std::string& path);

}  // namespace athanor::cli
