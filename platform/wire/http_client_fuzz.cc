// Any bytes as a server's answer: the client understands them or says why not.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <thread>

#include "common/error.h"
#include "platform/wire/http_client.h"

namespace {

int listen_anywhere(std::uint16_t& port) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), length) != 0 || listen(listener, 16) != 0 ||
      getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    std::abort();
  }
  port = ntohs(address.sin_port);
  return listener;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace athanor;
  static std::uint16_t port = 0;
  static const int listener = listen_anywhere(port);
  std::thread server([&] {
    const int peer = accept(listener, nullptr, nullptr);
    char request[4096];
    if (peer >= 0 && recv(peer, request, sizeof request, 0) > 0 && size > 0) send(peer, data, size, MSG_NOSIGNAL);
    shutdown(peer, SHUT_WR);
    while (recv(peer, request, sizeof request, 0) > 0) continue;
    close(peer);
  });
  try {
    wire::HttpClient client("http://127.0.0.1:" + std::to_string(port),
                            {.connections_kept_max = 0, .body_bytes_max = 1 << 16});
    const auto response = client.send({.method = "GET", .target = "/"});
    if (response.status < 100 || response.status > 999 || response.body.size() > 1 << 16) std::abort();
  } catch (const Error&) {
  }
  server.join();
  return 0;
}
