// One connection of the HTTP server: requests one after the other, or a link. Internal to http_*.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "platform/server/http_exchange.h"
#include "platform/server/http_worker.h"

namespace athanor::server {

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(HttpWorker& worker, HttpTransport::Socket socket);
  ~HttpConnection();

  wire::Awaitable<void> run();
  // Ends waits that are past their deadline. After one, the next gets a short while to say so to the peer.
  void check_deadline(std::int64_t now_ns);
  bool waits_for_request() const { return phase_ == Phase::kIdle; }
  void close();

 private:
  enum class Phase { kIdle, kHead, kExchange, kLink };
  // Whether the connection can carry another request.
  enum class Next { kAnother, kClose };

  wire::Awaitable<void> open();
  wire::Awaitable<Next> serve_one();
  // False when the peer closed before it began. What is no head fills `refusal`.
  wire::Awaitable<bool> read_head(HttpExchange& exchange, std::optional<HttpRefusal>& refusal);
  // What the handler says; `failed` when it threw.
  wire::Awaitable<wire::Response> ask_handler(wire::Request request, const HttpExchange& exchange, bool& failed);
  wire::Awaitable<Next> end_exchange(HttpExchange& exchange, const wire::Request& about, wire::Response response,
                                     bool failed);
  wire::Awaitable<void> respond(const wire::Request& about, wire::Response response, bool keep_alive);
  wire::Awaitable<void> refuse(int status, std::string_view why);
  wire::Awaitable<void> linger(std::int64_t longest_ns);

  HttpWorker& worker_;
  std::unique_ptr<HttpTransport> transport_;  // handed over to a link
  HttpInput input_;
  Phase phase_ = Phase::kIdle;
  bool timed_out_ = false;
};

}  // namespace athanor::server
