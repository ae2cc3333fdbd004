#include "platform/server/http_connection.h"

#include <string>
#include <vector>

#include "common/error.h"
#include "common/log.h"
#include "platform/server/http_websocket.h"

namespace athanor::server {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using wire::Awaitable;

namespace {

// What is read ahead of a head that is as long as may be.
constexpr std::size_t kInputBytesMax = kHttpHeadBytesMax + 16 * 1024;
// What is read of a body nobody wanted, to keep the connection; more than this, and it is closed.
constexpr std::uint64_t kDrainBytesMax = 256 * 1024;
constexpr std::int64_t kLinger_ns = 30'000'000'000;        // after an answer that came before the body's end
constexpr std::int64_t kLingerRefused_ns = 2'000'000'000;  // after what was no request
constexpr std::int64_t kSayWhy_ns = 5'000'000'000;

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
  const bool any = co_await input_.fill(*transport_, kInputBytesMax);
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
  const auto exchange = std::make_shared<HttpExchange>(*transport_, input_, shared.options.body_timeout_ms * 1'000'000);
  phase_ = input_.ready().empty() ? Phase::kIdle : Phase::kHead;
  if (phase_ == Phase::kIdle && shared.stopping) co_return Next::kClose;
  std::optional<HttpRefusal> refusal;
  const bool begun = co_await read_head(*exchange, refusal);
  if (!begun) co_return Next::kClose;
  wire::Request request;
  request.request_id = worker_.make_request_id();
  request.secure = transport_->secure();
  if (!refusal) refusal = exchange->take_head(request);
  if (refusal) {
    co_await refuse(refusal->status, refusal->why);
    co_await linger(kLingerRefused_ns);
    co_return Next::kClose;
  }

  phase_ = Phase::kExchange;
  exchange->expect_body();
  // An empty body needs no 100, but botocore, once answered without one, reads no status line of the connection's next
  // answer that follows a 100 (AWSConnection.response_class), and waits for a minute. S3 sends it too.
  if (exchange->continue_expected && exchange->ended) co_await transport_->write(kHttpContinue, {});
  request.body = HttpExchange::body_of(exchange);

  if (is_websocket_upgrade(request)) {
    const auto link = shared.links.find(request.path);
    if (link != shared.links.end() && exchange->ended && input_.ready().empty()) {
      phase_ = Phase::kLink;
      request.body = std::make_unique<wire::StringBody>("");
      co_await run_link(*transport_, std::move(request), shared.options, link->second);
      co_return Next::kClose;
    }
  }

  wire::Request about;  // what the answer needs to know of the request once the handler has taken it
  about.method = request.method;
  about.request_id = request.request_id;
  bool failed = false;
  wire::Response response = co_await ask_handler(std::move(request), *exchange, failed);
  const Next next = co_await end_exchange(*exchange, about, std::move(response), failed);
  co_return next;
}

Awaitable<bool> HttpConnection::read_head(HttpExchange& exchange, std::optional<HttpRefusal>& refusal) {
  const HttpOptions& options = worker_.shared_.options;
  const auto wait_for_ms = [this](std::int64_t ms) { transport_->deadline_ns = steady_ns() + ms * 1'000'000; };
  wait_for_ms(phase_ == Phase::kIdle ? options.idle_timeout_ms : options.head_timeout_ms);
  while (!exchange.parser.is_header_done() && !refusal) {
    if (!input_.ready().empty()) {
      if (phase_ == Phase::kIdle) {
        phase_ = Phase::kHead;
        wait_for_ms(options.head_timeout_ms);
      }
      refusal = exchange.parse_head();
      if (exchange.parser.is_header_done() || refusal) break;
    }
    if (input_.ready().size() > kHttpHeadBytesMax) {
      refusal = head_too_long();
      break;
    }
    bool gone = false;
    try {
      const bool more = co_await input_.fill(*transport_, kInputBytesMax);
      gone = !more;
    } catch (const boost::system::system_error& error) {
      if (error.code() != asio::error::operation_aborted || phase_ == Phase::kIdle) throw;
      refusal = HttpRefusal{408, "The request's head did not come in time."};
    }
    if (gone && phase_ == Phase::kIdle) co_return false;
    if (gone) refusal = HttpRefusal{400, "The request ended in the middle of its head."};
  }
  transport_->deadline_ns = HttpTransport::kNever;
  co_return true;
}

Awaitable<wire::Response> HttpConnection::ask_handler(wire::Request request, const HttpExchange& exchange,
                                                      bool& failed) {
  HttpShared& shared = worker_.shared_;
  const std::string method = request.method;
  const std::string request_id = request.request_id;
  wire::Response response;
  shared.requests_running.fetch_add(1);
  try {
    response = co_await shared.handler(std::move(request));
  } catch (const std::exception& error) {
    failed = true;
    if (exchange.broken) {
      response.status = 400;
      response.headers.add("Content-Type", "text/plain");
      response.body = fmt::format("{}\n", error.what());
    } else {
      log::error("http", "request {} of '{}' failed: {}", request_id, method, error.what());
      response.status = 500;
      response.headers.add("Content-Type", "application/x-amz-json-1.1");
      response.body = R"({"__type":"InternalFailure","message":"The request processing has failed because of an )"
                      R"(unknown error, exception or failure."})";
    }
  }
  shared.requests_running.fetch_sub(1);
  co_return response;
}

Awaitable<HttpConnection::Next> HttpConnection::end_exchange(HttpExchange& exchange, const wire::Request& about,
                                                             wire::Response response, bool failed) {
  exchange.detached = true;
  const bool unsent = !exchange.ended && exchange.continue_wanted;  // the client still waits to send its body
  bool keep = !failed && !exchange.broken && !unsent && !worker_.shared_.stopping && exchange.parser.keep_alive();
  if (keep && !exchange.ended) {
    exchange.detached = false;
    keep = !exchange.chunked && exchange.left <= kDrainBytesMax;
    if (keep) keep = co_await exchange.drain();
    exchange.detached = true;
  }
  co_await respond(about, std::move(response), keep);
  if (keep) co_return Next::kAnother;
  if (!exchange.ended && !unsent) {
    co_await linger(exchange.broken ? kLingerRefused_ns : kLinger_ns);
  } else if (transport_->secure()) {
    co_await transport_->finish();
  }
  co_return Next::kClose;
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
    has_id =
        has_id || boost::beast::iequals(name, "x-amzn-RequestId") || boost::beast::iequals(name, "x-amz-request-id");
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
