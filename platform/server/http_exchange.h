// One request on its way in: the bytes that came, the head, and the body as the handler reads it. Internal to http_*.cc;
// one thread.
#pragma once

#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "platform/server/http_transport.h"
#include "platform/wire/http.h"

namespace athanor::server {

inline constexpr std::size_t kHttpHeadBytesMax = 64 * 1024;
inline constexpr std::string_view kHttpContinue = "HTTP/1.1 100 Continue\r\n\r\n";

// The half-read state of a connection: bytes that came and were not yet used.
class HttpInput {
 public:
  std::string_view ready() const { return {bytes_.data() + at_, end_ - at_}; }
  void use(std::size_t count) { at_ += count; }
  // False at the end of what the peer sends. Grows up to `size_max`, which must exceed what is ready.
  wire::Awaitable<bool> fill(HttpTransport& transport, std::size_t size_max);
  std::string take();

 private:
  std::string bytes_;
  std::size_t at_ = 0, end_ = 0;
};

// What a person reads who points something else than an AWS client at us.
struct HttpRefusal {
  int status = 400;
  std::string why;
};

struct HttpExchange {
  using Parser = boost::beast::http::request_parser<boost::beast::http::buffer_body>;

  // Both outlive the exchange until it is detached. `timeout_ns`: how long a body may make no progress.
  HttpExchange(HttpTransport& transport, HttpInput& input, std::int64_t timeout_ns);

  // Gives the parser what is ready. Why the head is none, if so.
  std::optional<HttpRefusal> parse_head();
  // Once the parser has the head: fills `request` but for its body, or says why it is refused.
  std::optional<HttpRefusal> take_head(wire::Request& request) const;
  // Then: what is to come of the body.
  void expect_body();
  // For the handler, of the exchange that `self` holds.
  static std::unique_ptr<wire::Body> body_of(std::shared_ptr<HttpExchange> self);

  wire::Awaitable<std::size_t> read_some(std::span<char> into);
  // Throws away the rest; false when it broke off.
  wire::Awaitable<bool> drain();

  HttpTransport& transport;
  HttpInput& input;
  const std::int64_t timeout_ns;
  Parser parser;
  bool chunked = false;
  std::optional<std::uint64_t> length;
  std::uint64_t left = 0;          // when not chunked
  bool continue_expected = false;  // by the client
  bool continue_wanted = false;    // and not said yet
  bool ended = false;
  bool broken = false;    // ended early or malformed: the connection is of no more use
  bool detached = false;  // the exchange is over; the handler kept a body it should not have

 private:
  wire::Awaitable<std::size_t> read_counted(std::span<char> into);
  wire::Awaitable<std::size_t> read_chunked(std::span<char> into);
  [[noreturn]] void broke_off(const char* how);
};

// Of a head that outgrew kHttpHeadBytesMax.
HttpRefusal head_too_long();

}  // namespace athanor::server
