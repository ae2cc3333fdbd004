#include "platform/node/server_link.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <chrono>
#include <deque>
#include <exception>
#include <utility>

#include "common/error.h"
#include "common/random.h"
#include "platform/node/messages.h"
#include "platform/wire/http_client.h"

namespace athanor::node {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace websocket = beast::websocket;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr std::chrono::seconds kConnectMax{5};
constexpr std::chrono::seconds kIdleMax{30};  // pings go out at half of it

// One connection that is open.
class Connection {
 public:
  virtual ~Connection() = default;
  virtual void send(std::string message) = 0;
  virtual bool idle() const = 0;  // all that was sent is out
  virtual void close() = 0;
};

template <typename Stream>
class ConnectionOver final : public Connection, public std::enable_shared_from_this<ConnectionOver<Stream>> {
 public:
  template <typename... Args>
  explicit ConnectionOver(Args&&... args) : stream(std::forward<Args>(args)...) {}

  void send(std::string message) override {
    queue_.push_back(std::move(message));
    if (queue_.size() == 1) write();
  }
  bool idle() const override { return queue_.empty(); }
  void close() override {
    error_code ignored;
    beast::get_lowest_layer(stream).close(ignored);
  }

  websocket::stream<Stream> stream;

 private:
  void write() {
    stream.async_write(asio::buffer(queue_.front()),
                       [self = this->shared_from_this()](const error_code& failure, std::size_t) {
                         // The reader learns of a failure too, and tells.
                         if (failure) return self->close();
                         self->queue_.pop_front();
                         if (!self->queue_.empty()) self->write();
                       });
  }

  std::deque<std::string> queue_;
};

}  // namespace

struct ServerLink::Core : std::enable_shared_from_this<Core> {
  Core(asio::io_context& with, Options given, Events to)
      : context(with),
        options(std::move(given)),
        events(std::move(to)),
        endpoint(options.where()),
        pause(with),
        finishing(with),
        tls(asio::ssl::context::tls_client) {
    if (!endpoint.secure) return;
    tls.set_verify_mode(asio::ssl::verify_peer);
    if (options.ca.empty()) {
      tls.set_default_verify_paths();
    } else {
      tls.add_certificate_authority(asio::buffer(options.ca));
    }
  }

  static asio::awaitable<void> run(std::shared_ptr<Core> self) {
    SystemRandom random;
    std::int64_t pause_ms = self->options.pause_first_ms;
    while (!self->finished) {
      std::string reason;
      bool was_open = false;
      self->endpoint = self->options.where();
      try {
        if (self->endpoint.secure) {
          co_await serve<asio::ssl::stream<tcp::socket>>(self, &was_open);
        } else {
          co_await serve<tcp::socket>(self, &was_open);
        }
      } catch (const std::exception& error) {
        reason = error.what();
      }
      self->connection.reset();
      if (self->finished) break;
      if (was_open) {
        pause_ms = self->options.pause_first_ms;
        self->events.on_broken(reason);
      }
      const auto jitter_ms = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(pause_ms) / 4 + 1));
      self->pause.expires_after(std::chrono::milliseconds(pause_ms + jitter_ms));
      error_code ignored;
      co_await self->pause.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      pause_ms = std::min(2 * pause_ms, self->options.pause_max_ms);
    }
  }

  // An event that throws says nothing of the link, which goes on: what it threw leaves by the context's run().
  template <typename Event>
  static void tell(const std::shared_ptr<Core>& self, const Event& event) {
    try {
      event();
    } catch (...) {
      asio::post(self->context, [failure = std::current_exception()] { std::rethrow_exception(failure); });
    }
  }

  // From dialling to the end of the connection, which it throws.
  template <typename Stream>
  static asio::awaitable<void> serve(std::shared_ptr<Core> self, bool* was_open) {
    std::shared_ptr<ConnectionOver<Stream>> link;
    if constexpr (std::is_same_v<Stream, tcp::socket>) {
      link = std::make_shared<ConnectionOver<Stream>>(self->context);
    } else {
      link = std::make_shared<ConnectionOver<Stream>>(self->context, self->tls);
    }
    auto& stream = link->stream;
    tcp::socket& lowest = beast::get_lowest_layer(stream);
    asio::steady_timer limit(self->context, kConnectMax);
    limit.async_wait([link](const error_code& cancelled) {
      if (!cancelled) link->close();
    });
    error_code not_an_address;
    const auto address = asio::ip::make_address(self->endpoint.host, not_an_address);
    if (not_an_address) {
      tcp::resolver resolver(self->context);
      const std::string port = std::to_string(self->endpoint.port);
      auto found = co_await resolver.async_resolve(self->endpoint.host, port, asio::use_awaitable);
      co_await asio::async_connect(lowest, found, asio::use_awaitable);
    } else {
      // Without a resolver, which would start a thread.
      const tcp::endpoint target(address, self->endpoint.port);
      co_await lowest.async_connect(target, asio::use_awaitable);
    }
    lowest.set_option(tcp::no_delay(true));
    if constexpr (!std::is_same_v<Stream, tcp::socket>) {
      auto& secure = stream.next_layer();
      SSL_set_tlsext_host_name(secure.native_handle(), self->endpoint.host.c_str());
      secure.set_verify_callback(asio::ssl::host_name_verification(self->endpoint.host));
      co_await secure.async_handshake(asio::ssl::stream_base::client, asio::use_awaitable);
    }
    limit.cancel();
    websocket::stream_base::timeout timeout{};
    timeout.handshake_timeout = kConnectMax;
    timeout.idle_timeout = kIdleMax;
    timeout.keep_alive_pings = true;
    stream.set_option(timeout);
    stream.read_message_max(kAgentMessageBytesMax);
    stream.binary(true);
    const std::string authority = self->endpoint.authority();
    co_await stream.async_handshake(authority, "/agent", asio::use_awaitable);

    *was_open = true;
    self->connection = link;
    tell(self, [&] { self->events.on_open(); });
    for (;;) {
      beast::flat_buffer buffer;
      co_await stream.async_read(buffer, asio::use_awaitable);
      if (self->finished) co_return;
      tell(self, [&] { self->events.on_message(beast::buffers_to_string(buffer.data())); });
    }
  }

  asio::io_context& context;
  const Options options;
  const Events events;
  wire::Endpoint endpoint;  // dialled last
  asio::steady_timer pause;
  asio::steady_timer finishing;
  asio::ssl::context tls;
  std::shared_ptr<Connection> connection;
  bool finished = false;
};

ServerLink::ServerLink(asio::io_context& context, Options options, Events events)
    : core_(std::make_shared<Core>(context, std::move(options), std::move(events))) {}

ServerLink::~ServerLink() {
  core_->finished = true;
  core_->pause.cancel();
  if (core_->connection) core_->connection->close();
}

void ServerLink::start() { asio::co_spawn(core_->context, Core::run(core_), asio::detached); }

bool ServerLink::is_open() const { return core_->connection != nullptr; }

void ServerLink::send(std::string message) {
  if (core_->connection) core_->connection->send(std::move(message));
}

void ServerLink::finish(std::function<void()> on_closed) {
  // Polled: it happens once in an agent's life.
  struct Poll {
    static void step(std::shared_ptr<Core> core, std::function<void()> done, int left) {
      if (left == 0 || !core->connection || core->connection->idle()) {
        core->finished = true;
        core->pause.cancel();
        if (core->connection) core->connection->close();
        return done();
      }
      core->finishing.expires_after(std::chrono::milliseconds(10));
      core->finishing.async_wait([core, done, left](const error_code&) { step(core, done, left - 1); });
    }
  };
  Poll::step(core_, std::move(on_closed), 100);
}

}  // namespace athanor::node
