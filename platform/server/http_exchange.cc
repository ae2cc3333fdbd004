#include "platform/server/http_exchange.h"

#include <algorithm>
#include <cstring>

#include "common/error.h"

namespace athanor::server {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using wire::Awaitable;

namespace {

constexpr std::size_t kFieldsMax = 100;
constexpr std::size_t kInputBytes = 16 * 1024;
constexpr std::size_t kBodyInputBytes = 64 * 1024;

class ExchangeBody final : public wire::Body {
 public:
  explicit ExchangeBody(std::shared_ptr<HttpExchange> exchange) : exchange_(std::move(exchange)) {}
  Awaitable<std::size_t> read_some(std::span<char> into) override { return exchange_->read_some(into); }
  std::optional<std::uint64_t> length() const override { return exchange_->length; }

 private:
  std::shared_ptr<HttpExchange> exchange_;
};

HttpRefusal refusal_of(const boost::system::error_code& failure) {
  if (failure == http::error::header_limit || failure == http::error::buffer_overflow) {
    return head_too_long();
  }
  if (failure == http::error::bad_version) return {505, "Only HTTP/1.0 and HTTP/1.1 are spoken here."};
  return {400, "This is not an HTTP request: " + failure.message() + "."};
}

}  // namespace

HttpRefusal head_too_long() { return {431, "The request's head is longer than 64 KiB."}; }

// input

Awaitable<bool> HttpInput::fill(HttpTransport& transport, std::size_t size_max) {
  if (at_ == end_) at_ = end_ = 0;
  if (end_ == bytes_.size()) {
    if (at_ > 0) {
      std::memmove(bytes_.data(), bytes_.data() + at_, end_ - at_);
      end_ -= at_;
      at_ = 0;
    } else {
      bytes_.resize(std::min(std::max(kInputBytes, 2 * bytes_.size()), size_max));
    }
  }
  ATHANOR_ASSERT(end_ < bytes_.size());
  const std::size_t count = co_await transport.read_some(std::span(bytes_).subspan(end_));
  end_ += count;
  co_return count != 0;
}

std::string HttpInput::take() {
  std::string taken(ready());
  at_ = end_ = 0;
  return taken;
}

// the head

HttpExchange::HttpExchange(HttpTransport& with_transport, HttpInput& with_input, std::int64_t with_timeout_ns)
    : transport(with_transport), input(with_input), timeout_ns(with_timeout_ns) {
  parser.header_limit(kHttpHeadBytesMax);
  parser.body_limit(boost::none);
}

std::optional<HttpRefusal> HttpExchange::parse_head() {
  boost::system::error_code failure;
  const std::string_view ready = input.ready();
  input.use(parser.put(asio::buffer(ready.data(), ready.size()), failure));
  if (failure && failure != http::error::need_more) return refusal_of(failure);
  return std::nullopt;
}

std::optional<HttpRefusal> HttpExchange::take_head(wire::Request& request) const {
  const auto& message = parser.get();
  request.method = message.method_string();
  std::size_t hosts = 0;
  for (const auto& field : message) {
    if (request.headers.size() == kFieldsMax) return HttpRefusal{431, "The request has more than 100 header fields."};
    if (field.name() == http::field::host) ++hosts;
    // Whoever reads such a body otherwise than the client meant it takes its rest for another request.
    if (field.name() == http::field::transfer_encoding && !boost::beast::iequals(field.value(), "chunked")) {
      return HttpRefusal{501, "The only transfer coding here is chunked."};
    }
    request.headers.add(std::string(field.name_string()), std::string(field.value()));
  }
  if (hosts > 1 || (hosts == 0 && message.version() >= 11)) return HttpRefusal{400, "A request has exactly one Host."};
  std::string target(message.target());
  for (const std::string_view scheme : {"http://", "https://"}) {  // the absolute form, as proxies are sent
    if (target.compare(0, scheme.size(), scheme) == 0) {
      const std::size_t slash = target.find('/', scheme.size());
      target = slash == std::string::npos ? "/" : target.substr(slash);
    }
  }
  if (target.empty() || target[0] != '/') return HttpRefusal{400, "The request's target must be a path."};
  try {
    wire::set_target(request, std::move(target));
    wire::percent_decode(request.path);
  } catch (const Error& error) {
    return HttpRefusal{400, error.what()};
  }
  return std::nullopt;
}

// the body

void HttpExchange::expect_body() {
  chunked = parser.chunked();
  if (const auto announced = parser.content_length(); announced && !chunked) {
    length = *announced;
    left = *announced;
  }
  ended = !chunked && left == 0;
  if (ended) length = 0;
  continue_expected =
      parser.get().version() >= 11 && boost::beast::iequals(parser.get()[http::field::expect], "100-continue");
  continue_wanted = continue_expected && !ended;
}

std::unique_ptr<wire::Body> HttpExchange::body_of(std::shared_ptr<HttpExchange> self) {
  return std::make_unique<ExchangeBody>(std::move(self));
}

Awaitable<std::size_t> HttpExchange::read_some(std::span<char> into) {
  if (detached) throw Error(ErrorKind::kUnavailable, "reading a request's body: its connection has gone on without it");
  if (broken) broke_off("it broke off before");
  if (ended || into.empty()) co_return 0;
  std::string failed;
  try {
    if (continue_wanted) {
      continue_wanted = false;
      if (input.ready().empty()) co_await transport.write(kHttpContinue, {});
    }
    transport.deadline_ns = steady_ns() + timeout_ns;
    std::size_t count = 0;
    if (chunked) {
      count = co_await read_chunked(into);
    } else {
      count = co_await read_counted(into);
    }
    transport.deadline_ns = HttpTransport::kNever;
    co_return count;
  } catch (const boost::system::system_error& error) {
    failed = error.code() == asio::error::operation_aborted ? "nothing came for too long" : error.code().message();
  }
  transport.deadline_ns = HttpTransport::kNever;
  broke_off(failed.c_str());
}

Awaitable<std::size_t> HttpExchange::read_counted(std::span<char> into) {
  into = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), left)));
  std::size_t count = std::min(into.size(), input.ready().size());
  if (count > 0) {
    std::memcpy(into.data(), input.ready().data(), count);
    input.use(count);
  } else {
    count = co_await transport.read_some(into);
    if (count == 0) broke_off("the client sent less than its Content-Length");
  }
  left -= count;
  ended = left == 0;
  co_return count;
}

Awaitable<std::size_t> HttpExchange::read_chunked(std::span<char> into) {
  auto& body = parser.get().body();
  body.data = into.data();
  body.size = into.size();
  body.more = true;
  for (;;) {
    boost::system::error_code failure;
    if (!input.ready().empty()) {
      const std::string_view ready = input.ready();
      const std::size_t used = parser.put(asio::buffer(ready.data(), ready.size()), failure);
      input.use(used);
      if (failure && failure != http::error::need_buffer && failure != http::error::need_more) {
        broken = true;
        throw Error(ErrorKind::kInvalid, "reading a request's body: malformed chunks: {}", failure.message());
      }
      const std::size_t got = into.size() - body.size;
      if (parser.is_done()) {
        ended = true;
        co_return got;
      }
      if (got > 0) co_return got;
      if (used > 0 && !input.ready().empty() && failure != http::error::need_more) continue;
    }
    if (input.ready().size() >= kBodyInputBytes) broke_off("a chunk's head is too long");
    const bool more = co_await input.fill(transport, kBodyInputBytes);
    if (!more) broke_off("the client ended before the last chunk");
    transport.deadline_ns = steady_ns() + timeout_ns;
  }
}

Awaitable<bool> HttpExchange::drain() {
  std::vector<char> nowhere(16 * 1024);
  try {
    while (!ended) co_await read_some(nowhere);
  } catch (const Error&) {
    co_return false;
  }
  co_return true;
}

void HttpExchange::broke_off(const char* how) {
  broken = true;
  throw Error(ErrorKind::kUnavailable, "reading a request's body: {}", how);
}

}  // namespace athanor::server
