#include "platform/server/http_server.h"

#include <openssl/ssl.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <future>
#include <thread>
#include <vector>

#include "common/error.h"
#include "common/log.h"
#include "platform/server/http_connection.h"

namespace athanor::server {

namespace asio = boost::asio;
using asio::use_awaitable;
using asio::ip::tcp;
using wire::Awaitable;

struct HttpServer::State {
  HttpShared shared;
  std::vector<std::unique_ptr<HttpWorker>> workers;
  std::optional<tcp::acceptor> acceptor;  // on the first worker
  bool running = false;
};

namespace {

// Answers where no connection can be taken on: best effort, without waiting.
void turn_away(tcp::socket& socket) {
  static constexpr std::string_view kBusy =
      "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
  boost::system::error_code ignored;
  socket.non_blocking(true, ignored);
  socket.write_some(asio::buffer(kBusy.data(), kBusy.size()), ignored);
  socket.close(ignored);
}

Awaitable<void> accept_connections(tcp::acceptor& acceptor, HttpShared& shared,
                                   std::vector<std::unique_ptr<HttpWorker>>& workers) {
  asio::steady_timer pause(acceptor.get_executor());
  for (std::size_t turn = 0; acceptor.is_open(); ++turn) {
    HttpWorker& worker = *workers[turn % workers.size()];
    boost::system::error_code failure;
    tcp::socket socket(worker.context());
    co_await acceptor.async_accept(socket, asio::redirect_error(use_awaitable, failure));
    if (!acceptor.is_open()) co_return;
    if (failure) {
      // Out of descriptors, most likely: it passes when connections end.
      log::warning("http", "accepting a connection: {}", failure.message());
      pause.expires_after(std::chrono::milliseconds(50));
      co_await pause.async_wait(use_awaitable);
      continue;
    }
    if (shared.connections >= shared.options.connections_max) {
      turn_away(socket);
      continue;
    }
    worker.adopt(std::move(socket));
  }
}

}  // namespace

HttpServer::HttpServer(HttpOptions options, Handler handler, TlsIdentity* tls) : state_(std::make_shared<State>()) {
  ATHANOR_ASSERT(options.threads >= 1);
  HttpShared& shared = state_->shared;
  shared.options = std::move(options);
  shared.handler = std::move(handler);
  if (tls != nullptr) {
    SSL_CTX_up_ref(tls->server_context());
    shared.tls.emplace(tls->server_context());
  }
}

HttpServer::~HttpServer() { stop(0); }

void HttpServer::on_link(std::string path, LinkHandler handler) {
  ATHANOR_ASSERT(!state_->running);
  state_->shared.links[std::move(path)] = std::move(handler);
}

std::uint16_t HttpServer::start() {
  const HttpOptions& options = state_->shared.options;
  for (int i = 0; i < options.threads; ++i) state_->workers.push_back(std::make_unique<HttpWorker>(state_->shared));
  boost::system::error_code failure;
  const auto address = asio::ip::make_address(options.address, failure);
  if (failure) {
    throw Error(ErrorKind::kInvalid, "listening on '{}': not an IP address; give one such as 127.0.0.1 or 0.0.0.0",
                options.address);
  }
  const tcp::endpoint endpoint(address, options.port);
  auto& acceptor = state_->acceptor.emplace(state_->workers.front()->context());
  acceptor.open(endpoint.protocol());
  acceptor.set_option(tcp::acceptor::reuse_address(true));
  acceptor.bind(endpoint, failure);
  if (!failure) acceptor.listen(1024, failure);
  if (failure == asio::error::address_in_use) {
    throw Error(
        ErrorKind::kConflict,
        "listening on {}:{}: another program has the port; end it, or choose another with --listen ADDRESS:PORT",
        options.address, options.port);
  }
  if (failure == boost::system::errc::address_not_available) {
    throw Error(ErrorKind::kInvalid,
                "listening on {}:{}: that is no address of this machine; give one that is, or 0.0.0.0 for all",
                options.address, options.port);
  }
  if (failure) {
    throw Error(ErrorKind::kDenied, "listening on {}:{}: {}", options.address, options.port, failure.message());
  }
  asio::co_spawn(state_->workers.front()->context(), accept_connections(acceptor, state_->shared, state_->workers),
                 asio::detached);
  const std::uint16_t port = acceptor.local_endpoint().port();
  for (auto& worker : state_->workers) worker->start();
  state_->running = true;
  return port;
}

void HttpServer::stop(std::int64_t grace_ms) {
  if (!state_->running) return;
  state_->running = false;
  HttpShared& shared = state_->shared;
  shared.stopping = true;
  asio::post(state_->workers.front()->context(), [state = state_.get()] {
    boost::system::error_code ignored;
    state->acceptor->close(ignored);
  });
  for (auto& worker : state_->workers) worker->close_connections(false);
  const auto wait_until = [&](std::int64_t wait_ms, auto done) {
    const std::int64_t end_ns = steady_ns() + wait_ms * 1'000'000;
    while (!done() && steady_ns() < end_ns) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  };
  wait_until(grace_ms, [&] { return shared.requests_running == 0; });
  for (auto& worker : state_->workers) worker->close_connections(true);
  // Each connection's coroutine sees its socket closed and ends by itself; what a handler holds up is left behind.
  wait_until(1000, [&] { return shared.connections == 0; });
  for (auto& worker : state_->workers) worker->join();
}

std::size_t HttpServer::connections() const { return state_->shared.connections; }

}  // namespace athanor::server
