#include "platform/node/credentials_endpoint.h"

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <ctime>

#include "common/json.h"
#include "common/log.h"
#include "platform/node/accepting.h"

namespace athanor::node {

namespace asio = boost::asio;
using asio::ip::tcp;

std::string credentials_json(const Credentials& credentials, std::int64_t now_ms) {
  // SDKs ask again before the time is up; credentials without an end get one, so that they do.
  constexpr std::int64_t kWithoutEnd_ms = 6 * 3600'000;
  const std::time_t expires_s = (credentials.expires_ms > 0 ? credentials.expires_ms : now_ms + kWithoutEnd_ms) / 1000;
  std::tm parts{};
  ::gmtime_r(&expires_s, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  json::object answer;
  answer["AccessKeyId"] = credentials.access_key_id;
  answer["SecretAccessKey"] = credentials.secret_access_key;
  answer["Token"] = credentials.session_token;
  answer["Expiration"] = text;
  return json::serialize(answer);
}

namespace {

// One connection: a request, an answer, the end. Owns itself through its handlers.
struct Exchange : std::enable_shared_from_this<Exchange> {
  Exchange(tcp::socket from, std::shared_ptr<int> open, const Credentials& with, const Clock& by)
      : socket(std::move(from)),
        deadline(socket.get_executor()),
        open_count(std::move(open)),
        credentials(with),
        clock(by) {
    ++*open_count;
  }
  ~Exchange() { --*open_count; }

  void begin() {
    deadline.expires_after(std::chrono::seconds(CredentialsEndpoint::kRequestMax_s));
    deadline.async_wait([self = shared_from_this()](const auto& failure) {
      boost::system::error_code ignored;
      if (!failure) self->socket.close(ignored);
    });
    asio::async_read_until(socket, asio::dynamic_buffer(request, CredentialsEndpoint::kRequestBytesMax), "\r\n\r\n",
                           [self = shared_from_this()](const auto& failure, std::size_t) {
                             if (failure) return self->end();
                             self->answer();
                           });
  }

  void answer() {
    const bool known = request.starts_with("GET /credentials ") || request.starts_with("GET /credentials?");
    const std::string body = known ? credentials_json(credentials, clock.wall_ms())
                                   : R"({"message":"only GET /credentials is served here"})";
    reply = fmt::format(
        "HTTP/1.1 {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
        known ? "200 OK" : "404 Not Found", body.size(), body);
    asio::async_write(socket, asio::buffer(reply),
                      [self = shared_from_this()](const auto&, std::size_t) { self->end(); });
  }

  void end() {
    deadline.cancel();
    boost::system::error_code ignored;
    socket.shutdown(tcp::socket::shutdown_both, ignored);
  }

  tcp::socket socket;
  asio::steady_timer deadline;
  std::shared_ptr<int> open_count;
  const Credentials credentials;
  const Clock& clock;
  std::string request;
  std::string reply;
};

}  // namespace

struct CredentialsEndpoint::Core : std::enable_shared_from_this<Core> {
  Core(asio::io_context& context, int listener, Credentials with, const Clock& by)
      : acceptor(context, tcp::v4(), listener), retry(context), credentials(std::move(with)), clock(by) {}

  void accept() {
    accept_all(shared_from_this(), acceptor, retry, [this](tcp::socket socket) {
      if (*open_count >= kConnectionsMax) return;
      std::make_shared<Exchange>(std::move(socket), open_count, credentials, clock)->begin();
    });
  }

  tcp::acceptor acceptor;
  asio::steady_timer retry;
  std::shared_ptr<int> open_count = std::make_shared<int>(0);
  const Credentials credentials;
  const Clock& clock;
};

CredentialsEndpoint::CredentialsEndpoint(asio::io_context& context, Descriptor listener, Credentials credentials,
                                         const Clock& clock)
    : core_(std::make_shared<Core>(context, listener.release(), std::move(credentials), clock)) {
  core_->accept();
}

CredentialsEndpoint::~CredentialsEndpoint() {
  boost::system::error_code ignored;
  core_->acceptor.close(ignored);
  core_->retry.cancel();
}

}  // namespace athanor::node
