// Runs a program, and all that it starts, with some of its outgoing connections led elsewhere. Nothing else about the
// program's world changes: same user, files, network, terminal.
//
// How: a seccomp filter (Linux 5.5 and later) hands every connect(2) to us before the kernel sees it; where the address
// is one of those to be led away, we write the new one over it in the program's memory, and let the call go on.
// That works for root and ordinary users alike, for static programs, and for non-blocking sockets. Programs that change
// their user (sudo) do not work inside when an ordinary user runs it, for the kernel then forbids new privileges.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace athanor::cli {

struct Redirects {
  std::uint32_t captured = 0;  // IPv4, host order: TCP to this address, whatever the port…
  std::uint32_t target = 0;    // …goes to this one
  std::uint16_t target_port = 0;
  std::uint16_t resolver_port = 0;  // connections to port 53 of any address go to 127.0.0.1 here
  // Unix sockets that shall seem closed: resolvers that would answer past ours.
  std::vector<std::string> closed_sockets;
};

// Runs `command` (found along PATH) with `environment` and returns its exit status, or 128 + signal. SIGTERM, SIGHUP and
// SIGQUIT are passed on; SIGINT reaches it from the terminal itself. What outlives the program cannot connect any more.
// Throws athanor::Error when the program cannot be started (kNotFound when there is none of that name) or when this
// kernel has no such filters.
int run_captured(const std::vector<std::string>& command, const std::map<std::string, std::string>& environment,
                 const Redirects& redirects);

}  // namespace athanor::cli
