#include "platform/server/http_websocket.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <deque>
#include <mutex>

#include "common/error.h"
#include "common/log.h"

namespace athanor::server {

namespace asio = boost::asio;
namespace http = boost::beast::http;
namespace websocket = boost::beast::websocket;
using asio::use_awaitable;
using wire::Awaitable;

namespace {

// `Stream` is the transport's own; it is touched on its thread alone, and not after end().
template <typename Stream>
class WebSocketLink final : public Link, public std::enable_shared_from_this<WebSocketLink<Stream>> {
 public:
  WebSocketLink(Stream& stream, const HttpOptions& options)
      : executor_(stream.get_executor()), queue_bytes_max_(options.link_queue_bytes_max), socket_(stream) {
    websocket::stream_base::timeout timeout;
    timeout.handshake_timeout = std::chrono::milliseconds(options.head_timeout_ms);
    timeout.idle_timeout = std::chrono::milliseconds(2 * options.link_ping_ms);
    timeout.keep_alive_pings = true;  // sent when half the idle time is over
    socket_.set_option(timeout);
    socket_.read_message_max(options.link_message_bytes_max);
    socket_.binary(true);
  }

  // ---- any thread

  void send(std::string message) override {
    const std::lock_guard lock(mutex_);
    if (ended_ || closing_) return;
    queued_bytes_ += message.size();
    if (queued_bytes_ > queue_bytes_max_) {
      close_locked("it read too slowly: more than the queue may hold was waiting to be sent");
      return;
    }
    queue_.push_back(std::move(message));
    if (writing_) return;
    writing_ = true;
    auto self = this->shared_from_this();
    asio::post(executor_, [self] { asio::co_spawn(self->executor_, write_queue(self), asio::detached); });
  }

  void close() override {
    const std::lock_guard lock(mutex_);
    if (!ended_ && !closing_) close_locked("closed by us");
  }

  // ---- the link's thread

  Awaitable<void> accept(http::request<http::empty_body> upgrade) {
    co_await socket_.async_accept(upgrade, use_awaitable);
  }

  // Hands out messages until the link ends; returns why it did.
  Awaitable<std::string> read_all() {
    boost::beast::flat_buffer buffer;
    for (;;) {
      boost::system::error_code failure;
      co_await socket_.async_read(buffer, asio::redirect_error(use_awaitable, failure));
      if (failure) {
        const std::lock_guard lock(mutex_);
        if (!close_reason_.empty()) co_return close_reason_;
        if (failure == websocket::error::closed) co_return std::string("the peer closed it");
        co_return failure.message();
      }
      const auto data = buffer.cdata();
      std::string message(static_cast<const char*>(data.data()), data.size());
      buffer.consume(buffer.size());
      if (this->on_message) this->on_message(std::move(message));
    }
  }

  // The stream is about to go.
  void end(const std::string& reason) {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
      queue_.clear();
    }
    if (this->on_closed) this->on_closed(reason);
    // What they hold may hold us.
    this->on_message = nullptr;
    this->on_closed = nullptr;
  }

  // Whether a write is still using the stream.
  bool writing() const {
    const std::lock_guard lock(mutex_);
    return writing_;
  }

 private:
  void close_locked(std::string reason) {
    closing_ = true;
    close_reason_ = std::move(reason);
    auto self = this->shared_from_this();
    asio::post(executor_, [self] { asio::co_spawn(self->executor_, send_close(self), asio::detached); });
  }

  static Awaitable<void> send_close(std::shared_ptr<WebSocketLink> self) {
    {
      const std::lock_guard lock(self->mutex_);
      if (self->ended_) co_return;
      // A write in progress is cut off rather than waited for: a peer that reads too slowly would hold it for ever.
      if (self->writing_) {
        boost::system::error_code ignored;
        boost::beast::get_lowest_layer(self->socket_).cancel(ignored);
        co_return;
      }
      self->writing_ = true;
    }
    boost::system::error_code ignored;
    co_await self->socket_.async_close(websocket::close_code::normal, asio::redirect_error(use_awaitable, ignored));
    const std::lock_guard lock(self->mutex_);
    self->writing_ = false;
  }

  static Awaitable<void> write_queue(std::shared_ptr<WebSocketLink> self) {
    for (;;) {
      std::string message;
      {
        const std::lock_guard lock(self->mutex_);
        if (self->ended_ || self->queue_.empty()) {
          self->writing_ = false;
          co_return;
        }
        message = std::move(self->queue_.front());
        self->queue_.pop_front();
      }
      boost::system::error_code failure;
      co_await self->socket_.async_write(asio::buffer(message), asio::redirect_error(use_awaitable, failure));
      const std::lock_guard lock(self->mutex_);
      self->queued_bytes_ -= message.size();
      if (failure) {
        self->writing_ = false;
        co_return;  // the reader learns of it too
      }
    }
  }

  const asio::any_io_executor executor_;
  const std::size_t queue_bytes_max_;
  websocket::stream<Stream&> socket_;  // the link's thread

  mutable std::mutex mutex_;  // guards all below
  std::deque<std::string> queue_;
  std::size_t queued_bytes_ = 0;  // in the queue and being written
  bool writing_ = false;          // somebody writes, or was asked to
  bool closing_ = false;
  bool ended_ = false;
  std::string close_reason_;
};

template <typename Stream>
Awaitable<void> run_on(Stream& stream, HttpTransport& transport, wire::Request head, const HttpOptions& options,
                       const HttpServer::LinkHandler& handler) {
  http::request<http::empty_body> upgrade;
  upgrade.method(http::verb::get);
  upgrade.target(head.target);
  upgrade.version(11);
  for (const auto& [name, value] : head.headers) upgrade.insert(name, value);

  const auto link = std::make_shared<WebSocketLink<Stream>>(stream, options);
  co_await link->accept(std::move(upgrade));
  std::string reason;
  try {
    handler(link, std::move(head));
    reason = co_await link->read_all();
  } catch (const std::exception& error) {
    reason = error.what();
    log::error("http", "a link's user failed, so it is closed: {}", reason);
  }
  // Unblocks whoever still writes, and waits for it: the stream is its.
  boost::system::error_code ignored;
  transport.socket().close(ignored);
  link->end(reason);
  while (link->writing()) co_await asio::post(stream.get_executor(), use_awaitable);
}

}  // namespace

bool is_websocket_upgrade(const wire::Request& request) {
  const std::string* upgrade = request.headers.find("upgrade");
  return request.method == "GET" && upgrade != nullptr && boost::beast::iequals(*upgrade, "websocket") &&
         request.headers.has("sec-websocket-key");
}

Awaitable<void> run_link(HttpTransport& transport, wire::Request head, const HttpOptions& options,
                         const HttpServer::LinkHandler& handler) {
  if (auto* tls = dynamic_cast<TlsTransport*>(&transport)) {
    co_await run_on(tls->stream(), transport, std::move(head), options, handler);
  } else {
    co_await run_on(dynamic_cast<PlainTransport&>(transport).stream(), transport, std::move(head), options, handler);
  }
}

}  // namespace athanor::server
