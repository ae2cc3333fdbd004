#include "platform/wire/http_client.h"

#include <algorithm>
#include <charconv>
#include <mutex>

#include "common/error.h"
#include "platform/wire/client_connection.h"
#include "platform/wire/header_text.h"

namespace athanor::wire {

namespace {

constexpr std::size_t kHeadBytesMax = 64 << 10;
constexpr std::size_t kChunkBytes = 256 << 10;
constexpr int kInterimAnswersMax = 8;
// Before a streamed body larger than this the server is asked whether it wants it, so that a refusal costs nothing.
constexpr std::uint64_t kExpectFromBytes = 1 << 20;
constexpr std::int64_t kExpectWait_ms = 1'000;

// Reads what a connection brings, by lines and by counts.
class Reader {
 public:
  Reader(ClientConnection& connection, const std::string& server) : connection_(connection), server_(server) {}

  // Whether any byte of an answer has come.
  bool started() const { return started_; }
  bool has_leftover() const { return at_ < filled_; }

  // A line without its CRLF. `budget` is what is left of the head's bound.
  std::string line(std::size_t& budget) {
    std::string text;
    for (;;) {
      if (at_ == filled_ && !fill()) throw broken("it closed the connection in mid-answer");
      const char* begin = buffer_.data() + at_;
      const char* end = buffer_.data() + filled_;
      const char* newline = std::find(begin, end, '\n');
      const auto length = static_cast<std::size_t>(newline - begin);
      if (length > budget) throw garbled("a head larger than 64 KiB");
      budget -= length;
      text.append(begin, length);
      at_ += length;
      if (newline != end) {
        ++at_;
        if (!text.empty() && text.back() == '\r') text.pop_back();
        return text;
      }
    }
  }

  // Up to `wanted` bytes, valid until the next call; empty at the end of the connection.
  std::string_view some(std::uint64_t wanted) {
    if (at_ == filled_ && !fill()) return {};
    const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(wanted, filled_ - at_));
    const std::string_view piece(buffer_.data() + at_, length);
    at_ += length;
    return piece;
  }

  Error broken(const char* what) const {
    return Error(ErrorKind::kUnavailable, "reading the answer of {}: {}", server_, what);
  }
  Error garbled(const char* what) const {
    return Error(ErrorKind::kCorrupt, "reading the answer of {}: {} is not HTTP/1.1; is the endpoint right?", server_,
                 what);
  }

 private:
  bool fill() {
    if (buffer_.empty()) buffer_.resize(kChunkBytes);
    at_ = 0;
    filled_ = 0;
    filled_ = connection_.read_some(buffer_);
    started_ = started_ || filled_ > 0;
    return filled_ > 0;
  }

  ClientConnection& connection_;
  const std::string& server_;
  std::string buffer_;
  std::size_t at_ = 0;
  std::size_t filled_ = 0;
  bool started_ = false;
};

int read_head(Reader& reader, Headers& headers) {
  std::size_t budget = kHeadBytesMax;
  const std::string status_line = reader.line(budget);
  int status = 0;
  const bool known = status_line.starts_with("HTTP/1.1 ") || status_line.starts_with("HTTP/1.0 ");
  if (!known || status_line.size() < 12 ||
      std::from_chars(status_line.data() + 9, status_line.data() + 12, status).ptr != status_line.data() + 12) {
    throw reader.garbled("its first line");
  }
  if (status_line[7] == '0') headers.add("Connection", "close");
  for (;;) {
    const std::string line = reader.line(budget);
    if (line.empty()) return status;
    const auto colon = line.find(':');
    if (colon == std::string::npos || colon == 0) throw reader.garbled("one of its headers");
    headers.add(line.substr(0, colon), std::string(trimmed(std::string_view(line).substr(colon + 1))));
  }
}

std::uint64_t read_chunk_size(Reader& reader, std::size_t& budget) {
  const std::string line = reader.line(budget);
  std::uint64_t size = 0;
  const auto [end, failure] = std::from_chars(line.data(), line.data() + line.size(), size, 16);
  if (failure != std::errc() || (end != line.data() + line.size() && *end != ';' && *end != ' ')) {
    throw reader.garbled("a chunk's length");
  }
  return size;
}

// Hands the body to `take`; returns whether the connection can carry another exchange.
bool read_body(Reader& reader, const Headers& headers, const std::function<void(std::string_view)>& take) {
  const auto counted = [&](std::uint64_t left) {
    while (left > 0) {
      const std::string_view piece = reader.some(left);
      if (piece.empty()) throw reader.broken("it closed the connection before the body's end");
      take(piece);
      left -= piece.size();
    }
  };
  const std::string* coding = headers.find("Transfer-Encoding");
  if (coding != nullptr && equal_without_case(*coding, "chunked")) {
    for (;;) {
      std::size_t budget = kHeadBytesMax;
      const std::uint64_t size = read_chunk_size(reader, budget);
      if (size == 0) {
        while (!reader.line(budget).empty()) {
        }
        return true;
      }
      counted(size);
      if (!reader.line(budget).empty()) throw reader.garbled("a chunk's end");
    }
  }
  if (const std::string* length = headers.find("Content-Length")) {
    std::uint64_t bytes = 0;
    const auto [end, failure] = std::from_chars(length->data(), length->data() + length->size(), bytes);
    if (failure != std::errc() || end != length->data() + length->size()) throw reader.garbled("its Content-Length");
    counted(bytes);
    return true;
  }
  for (;;) {
    const std::string_view piece = reader.some(kChunkBytes);
    if (piece.empty()) return false;
    take(piece);
  }
}

bool expects_continue(const ClientRequest& request) {
  return request.body_source && (!request.body_length || *request.body_length >= kExpectFromBytes);
}

std::string make_head(const ClientRequest& request, const Endpoint& endpoint) {
  std::string head = fmt::format("{} {} HTTP/1.1\r\n", request.method, request.target);
  if (!request.headers.has("Host")) head += fmt::format("Host: {}\r\n", endpoint.authority());
  for (const auto& [name, value] : request.headers) {
    if (value.find_first_of("\r\n") != std::string::npos || name.find_first_of("\r\n: ") != std::string::npos) {
      throw Error(ErrorKind::kInvalid, "sending {} {}: the header '{}' holds a line break", request.method,
                  request.target, name);
    }
    head += fmt::format("{}: {}\r\n", name, value);
  }
  if (request.body_source) {
    head += request.body_length ? fmt::format("Content-Length: {}\r\n", *request.body_length)
                                : std::string("Transfer-Encoding: chunked\r\n");
    if (expects_continue(request)) head += "Expect: 100-continue\r\n";
  } else if (!request.body.empty() || request.method == "PUT" || request.method == "POST") {
    head += fmt::format("Content-Length: {}\r\n", request.body.size());
  }
  return head + "\r\n";
}

}  // namespace

Endpoint Endpoint::parse(std::string_view url) {
  const auto refuse = [&](const char* why) {
    return Error(ErrorKind::kInvalid, "the endpoint '{}' {}; give one like http://127.0.0.1:9100", std::string(url),
                 why);
  };
  Endpoint endpoint;
  std::string_view rest = url;
  if (rest.starts_with("https://")) {
    endpoint.secure = true;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    throw refuse("is not an http or https URL");
  }
  if (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest.find_first_of("/?#@ ") != std::string_view::npos) throw refuse("holds more than a host and a port");
  std::string_view port;
  if (rest.starts_with('[')) {
    const auto close = rest.find(']');
    if (close == std::string_view::npos) throw refuse("lacks a ']'");
    endpoint.host = rest.substr(1, close - 1);
    port = rest.substr(close + 1);
  } else {
    const auto colon = rest.find(':');
    endpoint.host = rest.substr(0, colon);
    if (colon != std::string_view::npos) port = rest.substr(colon);
  }
  if (endpoint.host.empty()) throw refuse("has no host");
  if (endpoint.host.find_first_of("[]") != std::string::npos) {
    throw refuse("has brackets that are not around an address");
  }
  endpoint.port = endpoint.secure ? 443 : 80;
  if (!port.empty()) {
    const auto [end, failure] = std::from_chars(port.data() + 1, port.data() + port.size(), endpoint.port);
    if (port[0] != ':' || failure != std::errc() || end != port.data() + port.size() || endpoint.port == 0) {
      throw refuse("has no valid port");
    }
  }
  return endpoint;
}

std::string Endpoint::authority() const {
  const std::string name = host.find(':') != std::string::npos ? "[" + host + "]" : host;
  return port == (secure ? 443 : 80) ? name : name + ":" + std::to_string(port);
}

std::string Endpoint::url() const { return (secure ? "https://" : "http://") + authority(); }

struct HttpClient::State {
  State(const std::string& url, Options chosen)
      : endpoint(Endpoint::parse(url)), server(endpoint.url()), options(std::move(chosen)) {
    if (endpoint.secure) tls = make_client_tls(options.ca_file);
  }

  // A kept connection on which nothing unexpected waits, or null.
  std::unique_ptr<ClientConnection> take_kept() {
    const std::lock_guard lock(mutex);
    while (!kept.empty()) {
      auto connection = std::move(kept.back());
      kept.pop_back();
      if (!connection->readable(0)) return connection;  // readable while idle: the server closed it
    }
    return nullptr;
  }

  std::unique_ptr<ClientConnection> connect() {
    return std::make_unique<ClientConnection>(options.where ? options.where() : endpoint, tls.get(),
                                              ClientConnection::Timeouts{options.connect_timeout_ms,
                                                                         options.idle_timeout_ms});
  }

  void keep(std::unique_ptr<ClientConnection> connection) {
    const std::lock_guard lock(mutex);
    if (kept.size() < options.connections_kept_max) kept.push_back(std::move(connection));
  }

  const Endpoint endpoint;
  const std::string server;
  const Options options;
  std::shared_ptr<SSL_CTX> tls;
  std::mutex mutex;
  std::vector<std::unique_ptr<ClientConnection>> kept;  // guarded by mutex
};

namespace {

// One exchange on one connection.
class Exchange {
 public:
  Exchange(ClientConnection& connection, const ClientRequest& request, const Endpoint& endpoint,
           const std::string& server, std::size_t body_bytes_max)
      : connection_(connection),
        request_(request),
        endpoint_(endpoint),
        server_(server),
        body_bytes_max_(body_bytes_max),
        reader_(connection, server) {}

  bool answer_started() const { return reader_.started(); }
  bool reusable() const { return reusable_; }

  ClientResponse run(const std::function<void(std::string_view)>& sink) {
    send_request();
    ClientResponse response;
    if (early_status_ != 0) {
      response.status = early_status_;
      response.headers = std::move(early_headers_);
    } else {
      response.status = read_final_head(response.headers);
    }
    const bool bodiless = request_.method == "HEAD" || response.status == 204 || response.status == 304;
    bool kept = true;
    if (!bodiless) {
      kept = read_body(reader_, response.headers, [&](std::string_view piece) {
        if (sink && response.ok()) return sink(piece);
        if (response.body.size() + piece.size() > body_bytes_max_) {
          throw Error(ErrorKind::kExhausted, "reading the answer of {} to {} {}: its body exceeds {} bytes", server_,
                      request_.method, request_.target, body_bytes_max_);
        }
        response.body.append(piece);
      });
    }
    const bool closing = equal_without_case(response.headers.get_or("Connection", ""), "close");
    reusable_ = kept && !closing && body_sent_ && !reader_.has_leftover();
    return response;
  }

 private:
  void send_request() {
    std::string head = make_head(request_, endpoint_);
    if (!request_.body_source) {
      if (request_.body.size() <= kChunkBytes) head += request_.body;
      if (write_or_hear(head) && request_.body.size() > kChunkBytes) write_or_hear(request_.body);
      return;
    }
    connection_.write_all(head);
    if (expects_continue(request_) && connection_.readable(kExpectWait_ms)) {
      Headers headers;
      const int status = read_head(reader_, headers);
      if (status != 100) {
        early_status_ = status;
        early_headers_ = std::move(headers);
        body_sent_ = false;
        return;
      }
    }
    send_streamed_body();
  }

  void send_streamed_body() {
    std::string piece(kChunkBytes, '\0');
    std::uint64_t left = request_.body_length.value_or(UINT64_MAX);
    while (left > 0) {
      const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(left, piece.size()));
      const std::size_t got = request_.body_source(std::span(piece).first(wanted));
      if (got == 0) break;
      const std::string_view bytes = std::string_view(piece).substr(0, got);
      if (request_.body_length) {
        if (!write_or_hear(bytes)) return;
      } else if (!write_or_hear(fmt::format("{:x}\r\n", got)) || !write_or_hear(bytes) || !write_or_hear("\r\n")) {
        return;
      }
      left -= got;
    }
    if (!request_.body_length) {
      write_or_hear("0\r\n\r\n");
    } else if (left > 0) {
      throw Error(ErrorKind::kInvalid, "sending {} {}: the body ended {} bytes before its announced length",
                  request_.method, request_.target, left);
    }
  }

  // False when the server answered instead of listening.
  bool write_or_hear(std::string_view bytes) {
    try {
      connection_.write_all(bytes);
      return true;
    } catch (const Error&) {
      hear_refusal();
      return false;
    }
  }

  // The server may have answered and closed while we were still sending: its answer says more than our broken pipe.
  void hear_refusal() {
    const std::exception_ptr failure = std::current_exception();
    body_sent_ = false;
    try {
      early_status_ = read_final_head(early_headers_);
    } catch (const Error&) {
      early_status_ = 0;
      std::rethrow_exception(failure);
    }
  }

  int read_final_head(Headers& headers) {
    for (int i = 0; i < kInterimAnswersMax; ++i) {
      headers = Headers();
      const int status = read_head(reader_, headers);
      if (status >= 200) return status;
    }
    throw reader_.garbled("a run of interim answers");
  }

  ClientConnection& connection_;
  const ClientRequest& request_;
  const Endpoint& endpoint_;
  const std::string& server_;
  const std::size_t body_bytes_max_;
  Reader reader_;
  int early_status_ = 0;  // an answer that came before the body was out
  Headers early_headers_;
  bool body_sent_ = true;
  bool reusable_ = false;
};

}  // namespace

HttpClient::HttpClient(const std::string& endpoint_url, Options options)
    : state_(std::make_unique<State>(endpoint_url, std::move(options))) {}

HttpClient::~HttpClient() = default;

const Endpoint& HttpClient::endpoint() const { return state_->endpoint; }

ClientResponse HttpClient::send(const ClientRequest& request, const std::function<void(std::string_view)>& sink) {
  std::unique_ptr<ClientConnection> connection = state_->take_kept();
  for (bool fresh = connection == nullptr;; fresh = true) {
    if (fresh) connection = state_->connect();
    Exchange exchange(*connection, request, state_->endpoint, state_->server, state_->options.body_bytes_max);
    try {
      ClientResponse response = exchange.run(sink);
      if (exchange.reusable()) state_->keep(std::move(connection));
      return response;
    } catch (const Error& error) {
      const bool stale = !fresh && error.kind() == ErrorKind::kUnavailable && !exchange.answer_started();
      if (!stale || request.body_source) throw;
    }
  }
}

}  // namespace athanor::wire
