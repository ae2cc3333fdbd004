// One connection of the HTTP client: a socket, perhaps under TLS, whose waits all have an end.
#pragma once

#include <openssl/types.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "platform/wire/http_client.h"

namespace athanor::wire {

// Trusts `ca_file` (PEM), or the system's authorities when it is empty. Throws kInvalid when it cannot be read.
std::shared_ptr<SSL_CTX> make_client_tls(const std::string& ca_file);

// One thread at a time. Errors are kUnavailable and name the server.
class ClientConnection {
 public:
  struct Timeouts {
    std::int64_t connect_ms;
    std::int64_t idle_ms;
  };

  // Connects, trying the name's addresses in turn; shakes hands when `tls` is given.
  ClientConnection(const Endpoint& endpoint, SSL_CTX* tls, Timeouts timeouts);
  ~ClientConnection();
  ClientConnection(const ClientConnection&) = delete;
  ClientConnection& operator=(const ClientConnection&) = delete;

  // 0 at the end.
  std::size_t read_some(std::span<char> into);
  void write_all(std::string_view bytes);
  // Whether a byte (or the end) can be read within `wait_ms`.
  bool readable(std::int64_t wait_ms);

 private:
  void connect_any();
  void shake_hands(SSL_CTX* tls);
  // Waits until the socket is ready for `events`; false when the time is over.
  bool wait(short events, std::int64_t timeout_ms);
  void wait_or_throw(short events, const char* doing);

  const Endpoint endpoint_;
  const Timeouts timeouts_;
  int socket_ = -1;
  SSL* session_ = nullptr;
};

}  // namespace athanor::wire
