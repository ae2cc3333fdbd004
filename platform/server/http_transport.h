// The bytes under an HTTP connection: a TCP socket, or TLS over one. Internal to http_*.cc. Lives on one thread.
//
// Every wait has a deadline; the worker's sweep cancels the socket when it has passed, and the wait ends with
// operation_aborted. Errors are boost::system::system_error.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "platform/wire/http.h"

namespace athanor::server {

std::int64_t steady_ns();

class HttpTransport {
 public:
  using Socket = boost::asio::ip::tcp::socket;

  explicit HttpTransport(Socket socket);
  virtual ~HttpTransport() = default;

  // Up to `into.size()` bytes; 0 at the end.
  virtual wire::Awaitable<std::size_t> read_some(std::span<char> into) = 0;
  // All of `first`, then all of `second`.
  virtual wire::Awaitable<void> write(std::string_view first, std::string_view second) = 0;
  // `count` bytes of an open file. kCorrupt when the file is shorter.
  virtual wire::Awaitable<void> send_file(int descriptor, std::uint64_t offset, std::uint64_t count) = 0;
  // Says that nothing more is sent; the other side may still send.
  virtual wire::Awaitable<void> finish() = 0;
  virtual bool secure() const = 0;

  Socket& socket() { return socket_; }

  // When the present wait is to end, on the steady clock; kNever while a handler thinks.
  static constexpr std::int64_t kNever = INT64_MAX;
  std::int64_t deadline_ns = kNever;
  // How long one write may take: each piece that gets through sets the deadline anew.
  std::int64_t write_timeout_ns = 60'000'000'000;

 protected:
  void expect_progress() { deadline_ns = steady_ns() + write_timeout_ns; }

  Socket socket_;
};

class PlainTransport final : public HttpTransport {
 public:
  using HttpTransport::HttpTransport;
  wire::Awaitable<std::size_t> read_some(std::span<char> into) override;
  wire::Awaitable<void> write(std::string_view first, std::string_view second) override;
  wire::Awaitable<void> send_file(int descriptor, std::uint64_t offset, std::uint64_t count) override;
  wire::Awaitable<void> finish() override;
  bool secure() const override { return false; }
  Socket& stream() { return socket_; }
};

class TlsTransport final : public HttpTransport {
 public:
  using Stream = boost::asio::ssl::stream<Socket&>;

  // `context` outlives this.
  TlsTransport(Socket socket, boost::asio::ssl::context& context);
  // `received` was read from the socket already.
  wire::Awaitable<void> handshake(std::string received);
  wire::Awaitable<std::size_t> read_some(std::span<char> into) override;
  wire::Awaitable<void> write(std::string_view first, std::string_view second) override;
  wire::Awaitable<void> send_file(int descriptor, std::uint64_t offset, std::uint64_t count) override;
  wire::Awaitable<void> finish() override;
  bool secure() const override { return true; }
  Stream& stream() { return stream_; }

 private:
  Stream stream_;
};

}  // namespace athanor::server
