#include "platform/server/http_connection.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <cstring>

#include "common/error.h"
#include "common/log.h"
#include "platform/server/http_websocket.h"

namespace athanor::server {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using wire::Awaitable;

namespace {

constexpr std::size_t kHeadBytesMax = 64 * 1024;
constexpr std::size_t kFieldsMax = 100;
constexpr std::size_t kInputBytes = 16 * 1024;
constexpr std::size_t kBodyInputBytes = 64 * 1024;
// What is read of a body nobody wanted, to keep the connection; more than this, and it is closed.
constexpr std::uint64_t kDrainBytesMax = 256 * 1024;
constexpr std::int64_t kLinger_ns = 30'000'000'000;        // after an answer that came before the body's end
constexpr std::int64_t kLingerRefused_ns = 2'000'000'000;  // after what was no request
constexpr std::int64_t kSayWhy_ns = 5'000'000'000;

using Parser = http::request_parser<http::buffer_body>;

}  // namespace

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

constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

struct HttpExchange {
  HttpTransport* transport = nullptr;
  HttpInput* input = nullptr;
  std::unique_ptr<Parser> parser;
  std::int64_t timeout_ns = 0;
  bool chunked = false;
  std::optional<std::uint64_t> length;
  std::uint64_t left = 0;  // when not chunked
  bool continue_wanted = false;
  bool ended = false;
  bool broken = false;    // ended early or malformed: the connection is of no more use
  bool detached = false;  // the exchange is over; the handler kept a body it should not have

  Awaitable<std::size_t> read_some(std::span<char> into);

 private:
  Awaitable<std::size_t> read_counted(std::span<char> into);
  Awaitable<std::size_t> read_chunked(std::span<char> into);
  [[noreturn]] void broke_off(const char* how) {
    broken = true;
    throw Error(ErrorKind::kUnavailable, "reading a request's body: {}", how);
  }
};

Awaitable<std::size_t> HttpExchange::read_some(std::span<char> into) {
  if (detached) throw Error(ErrorKind::kUnavailable, "reading a request's body: its connection has gone on without it");
  if (broken) broke_off("it broke off before");
  if (ended || into.empty()) co_return 0;
  std::string failed;
  try {
    if (continue_wanted) {
      continue_wanted = false;
      if (input->ready().empty()) co_await transport->write(kContinue, {});
    }
    transport->deadline_ns = steady_ns() + timeout_ns;
    std::size_t count = 0;
    if (chunked) {
      count = co_await read_chunked(into);
    } else {
      count = co_await read_counted(into);
    }
    transport->deadline_ns = HttpTransport::kNever;
    co_return count;
  } catch (const boost::system::system_error& error) {
    failed = error.code() == asio::error::operation_aborted ? "nothing came for too long" : error.code().message();
  }
  transport->deadline_ns = HttpTransport::kNever;
  broke_off(failed.c_str());
}

Awaitable<std::size_t> HttpExchange::read_counted(std::span<char> into) {
  into = into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), left)));
  std::size_t count = std::min(into.size(), input->ready().size());
  if (count > 0) {
    std::memcpy(into.data(), input->ready().data(), count);
    input->use(count);
  } else {
    count = co_await transport->read_some(into);
    if (count == 0) broke_off("the client sent less than its Content-Length");
  }
  left -= count;
  ended = left == 0;
  co_return count;
}

Awaitable<std::size_t> HttpExchange::read_chunked(std::span<char> into) {
  auto& body = parser->get().body();
  body.data = into.data();
  body.size = into.size();
  body.more = true;
  for (;;) {
    boost::system::error_code failure;
    if (!input->ready().empty()) {
      const std::string_view ready = input->ready();
      const std::size_t used = parser->put(asio::buffer(ready.data(), ready.size()), failure);
      input->use(used);
      if (failure && failure != http::error::need_buffer && failure != http::error::need_more) {
        broken = true;
        throw Error(ErrorKind::kInvalid, "reading a request's body: malformed chunks: {}", failure.message());
      }
      const std::size_t got = into.size() - body.size;
      if (parser->is_done()) {
        ended = true;
        co_return got;
      }
      if (got > 0) co_return got;
      if (used > 0 && !input->ready().empty() && failure != http::error::need_more) continue;
    }
    if (input->ready().size() >= kBodyInputBytes) broke_off("a chunk's head is too long");
    const bool more = co_await input->fill(*transport, kBodyInputBytes);
    if (!more) broke_off("the client ended before the last chunk");
    transport->deadline_ns = steady_ns() + timeout_ns;
  }
}

namespace {

class ExchangeBody final : public wire::Body {
 public:
  explicit ExchangeBody(std::shared_ptr<HttpExchange> exchange) : exchange_(std::move(exchange)) {}
  Awaitable<std::size_t> read_some(std::span<char> into) override { return exchange_->read_some(into); }
  std::optional<std::uint64_t> length() const override { return exchange_->length; }

 private:
  std::shared_ptr<HttpExchange> exchange_;
};

const char* reason_of(int status) {
  switch (status) {
    case 408: return "Request Timeout";
    case 416: return "Range Not Satisfiable";
    default: {
      const auto text = http::obsolete_reason(static_cast<http::status>(status));
      return text.empty() ? "Unknown" : text.data();
    }
  }
}

// What a person reads who points something else than an AWS client at us.
struct Refusal {
  int status;
  std::string why;
};

Refusal refusal_of(const boost::system::error_code& failure) {
  if (failure == http::error::header_limit || failure == http::error::buffer_overflow) {
    return {431, "The request's head is longer than 64 KiB."};
  }
  if (failure == http::error::bad_version) return {505, "Only HTTP/1.0 and HTTP/1.1 are spoken here."};
  return {400, "This is not an HTTP request: " + failure.message() + "."};
}

std::optional<Refusal> take_head(const Parser& parser, wire::Request& request) {
  const auto& message = parser.get();
  request.method = message.method_string();
  std::size_t hosts = 0;
  for (const auto& field : message) {
    if (request.headers.size() == kFieldsMax) return Refusal{431, "The request has more than 100 header fields."};
    if (field.name() == http::field::host) ++hosts;
    // Whoever reads such a body otherwise than the client meant it takes its rest for another request.
    if (field.name() == http::field::transfer_encoding &&
        !boost::beast::iequals(field.value(), "chunked")) {
      return Refusal{501, "The only transfer coding here is chunked."};
    }
    request.headers.add(std::string(field.name_string()), std::string(field.value()));
  }
  if (hosts > 1 || (hosts == 0 && message.version() >= 11)) return Refusal{400, "A request has exactly one Host."};
  std::string target(message.target());
  for (const std::string_view scheme : {"http://", "https://"}) {  // the absolute form, as proxies are sent
    if (target.compare(0, scheme.size(), scheme) == 0) {
      const std::size_t slash = target.find('/', scheme.size());
      target = slash == std::string::npos ? "/" : target.substr(slash);
    }
  }
  if (target.empty() || target[0] != '/') return Refusal{400, "The request's target must be a path."};
  try {
    wire::set_target(request, std::move(target));
    wire::percent_decode(request.path);
  } catch (const Error& error) {
    return Refusal{400, error.what()};
  }
  return std::nullopt;
}

}  // namespace

HttpConnection::HttpConnection(HttpWorker& worker, HttpTransport::Socket socket)
    : worker_(worker), transport_(std::make_unique<PlainTransport>(std::move(socket))) {
  worker_.connections_.insert(this);
  worker_.shared_.connections.fetch_add(1);
}

HttpConnection::~HttpConnection() {
  worker_.connections_.erase(this);
  worker_.shared_.connections.fetch_sub(1);
}

void HttpConnection::close() {
  boost::system::error_code ignored;
  transport_->socket().close(ignored);
}

void HttpConnection::check_deadline(std::int64_t now_ns) {
  if (phase_ == Phase::kLink || now_ns < transport_->deadline_ns) return;
  if (timed_out_) return close();
  timed_out_ = true;
  transport_->deadline_ns = now_ns + kSayWhy_ns;
  boost::system::error_code ignored;
  transport_->socket().cancel(ignored);
}

Awaitable<void> HttpConnection::run() {
  const auto self = shared_from_this();  // until the last wait has ended
  try {
    co_await open();
    for (;;) {
      const Next next = co_await serve_one();
      if (next == Next::kClose) break;
    }
  } catch (const boost::system::system_error&) {
    // The peer is gone, or its time is over. There is nobody left to tell.
  } catch (const Error& error) {
    log::debug("http", "closing a connection: {}", error.what());
  }
  close();
}

// Reads the first byte: TLS begins with the record type "handshake", and no HTTP method with that.
Awaitable<void> HttpConnection::open() {
  HttpShared& shared = worker_.shared_;
  transport_->write_timeout_ns = shared.options.body_timeout_ms * 1'000'000;
  boost::system::error_code ignored;
  transport_->socket().set_option(asio::ip::tcp::no_delay(true), ignored);
  transport_->deadline_ns = steady_ns() + shared.options.head_timeout_ms * 1'000'000;
  const bool any = co_await input_.fill(*transport_, kHeadBytesMax + kInputBytes);
  if (!any) throw Error(ErrorKind::kUnavailable, "the peer closed before it said anything");
  if (input_.ready().front() != 0x16 || !shared.tls) co_return;
  auto secure = std::make_unique<TlsTransport>(std::move(transport_->socket()), *shared.tls);
  secure->write_timeout_ns = transport_->write_timeout_ns;
  secure->deadline_ns = transport_->deadline_ns;
  TlsTransport& tls = *secure;
  transport_ = std::move(secure);
  co_await tls.handshake(input_.take());
}

Awaitable<HttpConnection::Next> HttpConnection::serve_one() {
  HttpShared& shared = worker_.shared_;
  auto exchange = std::make_shared<HttpExchange>();
  exchange->parser = std::make_unique<Parser>();
  Parser& parser = *exchange->parser;
  parser.header_limit(kHeadBytesMax);
  parser.body_limit(boost::none);

  // The head.
  std::optional<Refusal> refusal;
  phase_ = input_.ready().empty() ? Phase::kIdle : Phase::kHead;
  if (phase_ == Phase::kIdle && shared.stopping) co_return Next::kClose;
  const std::int64_t begun_ns = steady_ns();
  transport_->deadline_ns =
      begun_ns + (phase_ == Phase::kIdle ? shared.options.idle_timeout_ms : shared.options.head_timeout_ms) * 1'000'000;
  bool gone = false;
  while (!parser.is_header_done() && !refusal) {
    if (!input_.ready().empty()) {
      if (phase_ == Phase::kIdle) {
        phase_ = Phase::kHead;
        transport_->deadline_ns = steady_ns() + shared.options.head_timeout_ms * 1'000'000;
      }
      boost::system::error_code failure;
      const std::string_view ready = input_.ready();
      input_.use(parser.put(asio::buffer(ready.data(), ready.size()), failure));
      if (failure && failure != http::error::need_more) refusal = refusal_of(failure);
      if (parser.is_header_done() || refusal) break;
    }
    if (input_.ready().size() > kHeadBytesMax) {
      refusal = refusal_of(http::error::header_limit);
      break;
    }
    try {
      const bool more = co_await input_.fill(*transport_, kHeadBytesMax + kInputBytes);
      gone = !more;
    } catch (const boost::system::system_error& error) {
      if (error.code() != asio::error::operation_aborted || phase_ == Phase::kIdle) throw;
      refusal = Refusal{408, "The request's head did not come in time."};
    }
    if (gone && phase_ == Phase::kIdle) co_return Next::kClose;
    if (gone) refusal = Refusal{400, "The request ended in the middle of its head."};
  }
  transport_->deadline_ns = HttpTransport::kNever;
  wire::Request request;
  request.request_id = worker_.make_request_id();
  request.secure = transport_->secure();
  if (!refusal) refusal = take_head(parser, request);
  if (refusal) {
    co_await refuse(refusal->status, refusal->why);
    co_await linger(kLingerRefused_ns);
    co_return Next::kClose;
  }

  // The body.
  phase_ = Phase::kExchange;
  exchange->transport = transport_.get();
  exchange->input = &input_;
  exchange->timeout_ns = shared.options.body_timeout_ms * 1'000'000;
  exchange->chunked = parser.chunked();
  if (const auto length = parser.content_length(); length && !exchange->chunked) {
    exchange->length = *length;
    exchange->left = *length;
  }
  exchange->ended = !exchange->chunked && exchange->left == 0;
  if (exchange->ended) exchange->length = 0;
  const bool continue_expected =
      parser.get().version() >= 11 && boost::beast::iequals(parser.get()[http::field::expect], "100-continue");
  exchange->continue_wanted = continue_expected && !exchange->ended;
  // An empty body needs no 100, but botocore, once answered without one, reads no status line of the connection's next
  // answer that follows a 100 (AWSConnection.response_class), and waits for a minute. S3 sends it too.
  if (continue_expected && exchange->ended) co_await transport_->write(kContinue, {});
  request.body = std::make_unique<ExchangeBody>(exchange);

  if (is_websocket_upgrade(request)) {
    const auto link = shared.links.find(request.path);
    if (link != shared.links.end() && exchange->ended && input_.ready().empty()) {
      phase_ = Phase::kLink;
      request.body = std::make_unique<wire::StringBody>("");
      co_await run_link(*transport_, std::move(request), shared.options, link->second);
      co_return Next::kClose;
    }
  }

  // The answer.
  wire::Request about;  // what the answer needs to know of the request once the handler has taken it
  about.method = request.method;
  about.request_id = request.request_id;
  wire::Response response;
  shared.requests_running.fetch_add(1);
  bool failed = false;
  try {
    response = co_await shared.handler(std::move(request));
  } catch (const std::exception& error) {
    failed = true;
    if (exchange->broken) {
      response.status = 400;
      response.headers.add("Content-Type", "text/plain");
      response.body = fmt::format("{}\n", error.what());
    } else {
      log::error("http", "request {} of '{}' failed: {}", about.request_id, about.method, error.what());
      response.status = 500;
      response.headers.add("Content-Type", "application/x-amz-json-1.1");
      response.body = R"({"__type":"InternalFailure","message":"The request processing has failed because of an )"
                      R"(unknown error, exception or failure."})";
    }
  }
  shared.requests_running.fetch_sub(1);

  exchange->detached = true;
  const bool unsent = !exchange->ended && exchange->continue_wanted;  // the client still waits to send its body
  bool keep = !failed && !exchange->broken && !unsent && !shared.stopping && parser.keep_alive();
  if (keep && !exchange->ended) {
    exchange->detached = false;
    keep = !exchange->chunked && exchange->left <= kDrainBytesMax;
    if (keep) keep = co_await drain(*exchange);
    exchange->detached = true;
  }
  co_await respond(about, std::move(response), keep);
  if (keep) co_return Next::kAnother;
  if (!exchange->ended && !unsent) {
    co_await linger(exchange->broken ? kLingerRefused_ns : kLinger_ns);
  } else if (transport_->secure()) {
    co_await transport_->finish();
  }
  co_return Next::kClose;
}

Awaitable<bool> HttpConnection::drain(HttpExchange& exchange) {
  std::vector<char> nowhere(16 * 1024);
  try {
    while (!exchange.ended) co_await exchange.read_some(nowhere);
  } catch (const Error&) {
    co_return false;
  }
  co_return true;
}

// Closing while the peer still sends would make the system throw away our answer with its bytes: so read on a while.
Awaitable<void> HttpConnection::linger(std::int64_t longest_ns) {
  if (!transport_->secure()) co_await transport_->finish();
  timed_out_ = true;  // the next deadline is the last
  transport_->deadline_ns = steady_ns() + longest_ns;
  std::vector<char> nowhere(64 * 1024);
  for (;;) {
    const std::size_t count = co_await transport_->read_some(nowhere);
    if (count == 0) co_return;
  }
}

Awaitable<void> HttpConnection::refuse(int status, std::string_view why) {
  wire::Response response;
  response.status = status;
  response.headers.add("Content-Type", "text/plain");
  response.body = std::string(why) + "\n";
  wire::Request about;
  about.request_id = worker_.make_request_id();
  co_await respond(about, std::move(response), false);
}

Awaitable<void> HttpConnection::respond(const wire::Request& about, wire::Response response, bool keep_alive) {
  std::uint64_t length = response.body.size();
  if (!response.files.empty()) {
    length = 0;
    for (const wire::FilePart& part : response.files) length += part.length;
  }
  const bool bodiless = response.status < 200 || response.status == 204 || response.status == 304;
  std::string head;
  head.reserve(512);
  fmt::format_to(std::back_inserter(head), "HTTP/1.1 {} {}\r\n", response.status, reason_of(response.status));
  bool has_id = false, has_length = false;
  for (const auto& [name, value] : response.headers) {
    has_id = has_id || boost::beast::iequals(name, "x-amzn-RequestId") || boost::beast::iequals(name, "x-amz-request-id");
    has_length = has_length || boost::beast::iequals(name, "Content-Length");
    head.append(name).append(": ");
    // A value with a line break would be another header.
    for (const char c : value) head += c == '\r' || c == '\n' ? ' ' : c;
    head.append("\r\n");
  }
  if (!has_id) head.append("x-amzn-RequestId: ").append(about.request_id).append("\r\n");
  if (!bodiless && !has_length) fmt::format_to(std::back_inserter(head), "Content-Length: {}\r\n", length);
  head.append("Date: ").append(worker_.http_date()).append("\r\n");
  if (!keep_alive) head.append("Connection: close\r\n");
  head.append("\r\n");

  const bool silent = bodiless || response.head_only || about.method == "HEAD";
  if (silent || !response.files.empty()) {
    co_await transport_->write(head, {});
    if (silent) co_return;
    for (const wire::FilePart& part : response.files) {
      co_await transport_->send_file(*part.descriptor, part.offset, part.length);
    }
  } else {
    co_await transport_->write(head, response.body);
  }
  transport_->deadline_ns = HttpTransport::kNever;
}

}  // namespace athanor::server
