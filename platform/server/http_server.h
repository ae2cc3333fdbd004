// The one port: HTTP/1.1 and HTTPS (told apart by the first byte), and WebSockets handed over as Links.
//
// Owns its threads: each has an io_context of its own, and a connection lives on one of them. A handler runs on its
// connection's thread and must not block it: what waits for a device, walks many rows or computes for long goes to a
// pool and co_awaits the result (resuming on the caller's executor). What takes some tens of microseconds is done at once,
// because handing it over would cost as much: a description that is at hand, the row of an object and its small body,
// the opening of a large one. Such a row may have to come from the disk when memory is short.
//
// Bounds: the head is at most 64 KiB and 100 fields (431), connections are counted (503), a head must be complete
// within head_timeout_ms (408), a body must make progress every body_timeout_ms, a kept connection may idle for
// idle_timeout_ms. What cannot be read as HTTP is answered 400 and the connection closed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "common/link.h"
#include "platform/server/tls_identity.h"
#include "platform/wire/http.h"

namespace athanor::server {

struct HttpOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 9100;  // 0: any free one
  int threads = 2;
  std::size_t connections_max = 4096;
  std::int64_t head_timeout_ms = 20'000;
  std::int64_t body_timeout_ms = 60'000;
  std::int64_t idle_timeout_ms = 120'000;
  std::size_t link_message_bytes_max = 16 << 20;  // a longer one breaks the link
  std::size_t link_queue_bytes_max = 64 << 20;    // a peer that reads too slowly loses its link
  std::int64_t link_ping_ms = 15'000;             // a peer silent for twice as long is gone
};

class HttpServer {
 public:
  // Answers one request. The body may be left unread: the server drains or closes, whichever is right. What it throws
  // is logged and becomes a 500. Called on many threads at once.
  using Handler = std::function<wire::Awaitable<wire::Response>(wire::Request request)>;
  // Takes over a WebSocket. Called on the link's thread; set on_message and on_closed before returning. The link is
  // alive while somebody holds it or the connection lasts; its callbacks come on its thread; send() and close() may be
  // called from any. The head's body is empty.
  using LinkHandler = std::function<void(std::shared_ptr<Link> link, wire::Request head)>;

  // `tls` may be null: then only http is spoken. It must outlive the server.
  HttpServer(HttpOptions options, Handler handler, TlsIdentity* tls);
  ~HttpServer();  // stops
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // WebSocket upgrades of exactly this path go to `handler`. Before start().
  void on_link(std::string path, LinkHandler handler);

  // Binds, listens, starts the threads; returns the port. Throws kConflict when the port is taken, naming it.
  std::uint16_t start();

  // Takes no new connections, lets requests in progress end for up to `grace_ms`, closes links and the rest, joins.
  void stop(std::int64_t grace_ms);

  std::size_t connections() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace athanor::server
