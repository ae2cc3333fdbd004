// athanor exec -- CMD: runs a client to which every *.amazonaws.com is our server, under our certificate authority.
#include <arpa/inet.h>

#include "platform/cli/capture.h"
#include "platform/cli/client_environment.h"
#include "platform/cli/commands.h"
#include "platform/cli/connection.h"
#include "platform/cli/exit_code.h"
#include "platform/cli/resolver.h"
#include "platform/cli/terminal.h"

namespace athanor::cli {
namespace {

// What *.amazonaws.com resolves to: of the range kept for tests of networks (RFC 2544), so nobody else's.
constexpr std::uint32_t kOurs = 0xc6120001;  // 198.18.0.1

}  // namespace

int exec(const ExecOptions& options) {
  Connection connection(find_place(options.common.data_dir));
  const Place& place = connection.place();
  connection.check_answers();  // else the client's own error would puzzle
  const wire::Endpoint endpoint = wire::Endpoint::parse(place.endpoint);
  in_addr address{};
  if (inet_pton(AF_INET, endpoint.host.c_str(), &address) != 1) {
    throw Error(ErrorKind::kInvalid,
                "athanor exec leads connections to an IPv4 address, and the server listens at {}. "
                "Start it with `athanor up --listen 127.0.0.1:{}`.",
                endpoint.host, endpoint.port);
  }

  const Resolver resolver({"amazonaws.com"}, kOurs, read_nameservers("/etc/resolv.conf"));
  Redirects redirects;
  redirects.captured = kOurs;
  redirects.target = ntohl(address.s_addr);
  redirects.target_port = endpoint.port;
  redirects.resolver_port = resolver.port();
  redirects.closed_sockets = {"/var/run/nscd/socket", "/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve"};
  try {
    return run_captured(options.command, exec_environment(place), redirects);
  } catch (const Error& error) {
    Terminal(stderr).line(std::string("athanor exec: ") + error.what());
    return error.kind() == ErrorKind::kNotFound ? kNoSuchProgram : kCannotRun;
  }
}

}  // namespace athanor::cli
