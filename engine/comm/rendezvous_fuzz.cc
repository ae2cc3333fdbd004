// Any bytes from a stranger at rank 0's door, while rank 1 comes as it should: both meet, or one says why not, in time.
#include <cstdlib>
#include <thread>

#include "common/error.h"
#include "engine/comm/rendezvous.h"

namespace {

using namespace athanor;

void join_ring(const comm::CommOptions& options) {
  try {
    comm::meet(options);
  } catch (const Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  try {
    comm::parse_host_port({reinterpret_cast<const char*>(data), size});
  } catch (const Error&) {
  }
  const std::string port = std::to_string(comm::local_port(comm::listen_at("0")));
  const comm::CommOptions first{.rank = 0,
                                .world_size = 2,
                                .rendezvous = "127.0.0.1:" + port,
                                .connect_timeout_ms = 500};
  comm::CommOptions second = first;
  second.rank = 1;
  std::thread host(join_ring, first);
  try {
    const auto deadline = comm::Deadline::after_ms(500);
    std::string why;
    comm::Peer stranger{comm::Socket(), "rank 0"};
    while (!stranger.socket.open() && !deadline.over()) {
      stranger.socket = comm::try_connect(comm::parse_host_port(first.rendezvous), deadline, why);
    }
    if (stranger.socket.open()) comm::send_all(stranger, data, size, deadline);
    join_ring(second);
  } catch (const Error&) {
  }
  host.join();
  return 0;
}
