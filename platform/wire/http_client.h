// A blocking HTTP/1.1 client: one server, a pool of kept-alive connections, bodies streamed both ways. Redirects are
// handed back, not followed; nothing is sent twice unless that is harmless (see send()).
//
// Used by the S3 client (agents) and by the command line. The server end is platform/server.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "platform/wire/http.h"

namespace athanor::wire {

// "http://127.0.0.1:9100" taken apart.
struct Endpoint {
  bool secure = false;
  std::string host;  // a name or an address; IPv6 without brackets
  std::uint16_t port = 0;

  // Throws kInvalid on anything but http(s)://HOST[:PORT][/].
  static Endpoint parse(std::string_view url);
  // The Host header: the port is left out when it is the scheme's own.
  std::string authority() const;
  std::string url() const;
};

struct ClientRequest {
  std::string method = "GET";
  std::string target = "/";  // percent-encoded path, and query
  Headers headers;   // without Host, Content-Length, Transfer-Encoding, Connection, Expect: the client adds them
  std::string body;  // sent when `body_source` is empty

  // A streamed body: called until it returns 0 or `body_length` bytes are out. Of unknown length it travels chunked.
  std::function<std::size_t(std::span<char> into)> body_source;
  std::optional<std::uint64_t> body_length;
};

struct ClientResponse {
  int status = 0;
  Headers headers;
  std::string body;  // empty when a sink took it

  bool ok() const { return status >= 200 && status < 300; }
};

// Any thread; requests on different threads use different connections.
class HttpClient {
 public:
  struct Options {
    std::string ca_file;  // PEM to trust for https; empty: the system's
    std::int64_t connect_timeout_ms = 5'000;
    std::int64_t idle_timeout_ms = 60'000;  // longest wait for the next byte, either way
    std::size_t connections_kept_max = 16;
    std::size_t body_bytes_max = 64 << 20;  // of a response body that is kept in memory
    // Where the server is now, if it may move: asked before each connection. The Host header stays. Any thread.
    std::function<Endpoint()> where;
  };

  explicit HttpClient(const std::string& endpoint_url) : HttpClient(endpoint_url, Options()) {}
  HttpClient(const std::string& endpoint_url, Options options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  const Endpoint& endpoint() const;

  // One exchange. `sink`, when given, takes the body of a 2xx response piece by piece; other bodies are kept (they hold
  // the error). What `sink` or `body_source` throws ends the exchange and passes through.
  //
  // A kept connection that turns out to be closed is replaced by a fresh one, once, when no byte of an answer came
  // and the body can be repeated (it is not streamed). Throws kUnavailable when the server cannot be reached or breaks
  // off, kCorrupt when it does not speak HTTP, kExhausted when a body exceeds `body_bytes_max`.
  ClientResponse send(const ClientRequest& request, const std::function<void(std::string_view)>& sink = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace athanor::wire
