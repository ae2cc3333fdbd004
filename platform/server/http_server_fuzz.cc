// Any bytes on a connection of the HTTP server, requests one after the other or WebSocket frames: whatever comes, the
// connection is answered or closed once the client has said all, and the server serves the next one.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "common/log.h"
#include "platform/server/http_server.h"

namespace {

using namespace athanor;

wire::Awaitable<wire::Response> echo(wire::Request request) {
  wire::Response response;
  response.body = co_await wire::read_all(*request.body, 1 << 20);
  co_return response;
}

std::uint16_t start_server() {
  log::open("http_server_fuzz", log::Level::kError, "");
  static server::HttpServer server({.port = 0, .threads = 1}, echo, nullptr);
  server.on_link("/link", [](std::shared_ptr<Link> link, wire::Request) {
    Link* const self = link.get();
    self->on_message = [self](std::string message) { self->send(std::move(message)); };
  });
  return server.start();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  static const std::uint16_t port = start_server();
  const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) std::abort();
  if (size > 0) send(client, data, size, MSG_NOSIGNAL);
  shutdown(client, SHUT_WR);
  char answer[4096];
  for (;;) {
    pollfd waiting{client, POLLIN, 0};
    const int ready = poll(&waiting, 1, 5000);
    if (ready < 0 && errno == EINTR) continue;  // libFuzzer's own clock
    if (ready != 1) std::abort();               // it neither answers nor closes
    if (recv(client, answer, sizeof answer, 0) <= 0) break;
  }
  close(client);
  return 0;
}
