#include "platform/server/http_transport.h"

#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <vector>

#include "common/error.h"

namespace athanor::server {

namespace asio = boost::asio;
using asio::use_awaitable;
using wire::Awaitable;

namespace {

// A piece between two looks at the deadline, and between two turns of the other connections of the thread.
constexpr std::size_t kWriteBytes = 256 * 1024;
constexpr std::size_t kSendfileBytes = 1024 * 1024;

[[noreturn]] void file_too_short() {
  throw Error(ErrorKind::kCorrupt, "sending a file: it is shorter than when the answer began");
}

}  // namespace

std::int64_t steady_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

HttpTransport::HttpTransport(Socket socket) : socket_(std::move(socket)) {}

// plain

Awaitable<std::size_t> PlainTransport::read_some(std::span<char> into) {
  boost::system::error_code failure;
  const std::size_t count = co_await socket_.async_read_some(asio::buffer(into.data(), into.size()),
                                                             asio::redirect_error(use_awaitable, failure));
  if (failure == asio::error::eof) co_return 0;
  if (failure) throw boost::system::system_error(failure);
  co_return count;
}

Awaitable<void> PlainTransport::write(std::string_view first, std::string_view second) {
  while (!first.empty() || !second.empty()) {
    expect_progress();
    const std::array<asio::const_buffer, 2> buffers{asio::buffer(first.data(), std::min(first.size(), kWriteBytes)),
                                                    asio::buffer(second.data(), std::min(second.size(), kWriteBytes))};
    std::size_t count = co_await socket_.async_write_some(buffers, use_awaitable);
    const std::size_t of_first = std::min(count, first.size());
    first.remove_prefix(of_first);
    second.remove_prefix(count - of_first);
  }
}

Awaitable<void> PlainTransport::send_file(int descriptor, std::uint64_t offset, std::uint64_t count) {
  if (!socket_.native_non_blocking()) socket_.native_non_blocking(true);
  const auto executor = co_await asio::this_coro::executor;
  auto at = static_cast<off_t>(offset);
  while (count > 0) {
    const ssize_t sent = ::sendfile(socket_.native_handle(), descriptor, &at,
                                    static_cast<std::size_t>(std::min<std::uint64_t>(count, kSendfileBytes)));
    if (sent > 0) {
      count -= static_cast<std::uint64_t>(sent);
      // A reader as fast as we are would keep the thread for itself.
      if (count > 0) co_await asio::post(executor, use_awaitable);
      continue;
    }
    if (sent == 0) file_too_short();
    if (errno == EINTR) continue;
    if (errno != EAGAIN) throw boost::system::system_error(errno, boost::system::system_category());
    expect_progress();
    co_await socket_.async_wait(Socket::wait_write, use_awaitable);
  }
}

Awaitable<void> PlainTransport::finish() {
  boost::system::error_code ignored;  // the other side may be gone
  socket_.shutdown(Socket::shutdown_send, ignored);
  co_return;
}

// TLS

TlsTransport::TlsTransport(Socket socket, asio::ssl::context& context)
    : HttpTransport(std::move(socket)), stream_(socket_, context) {}

Awaitable<void> TlsTransport::handshake(std::string received) {
  const auto used = co_await stream_.async_handshake(Stream::server, asio::buffer(received), use_awaitable);
  ATHANOR_ASSERT(used <= received.size());
  if (used < received.size()) {
    throw Error(ErrorKind::kInvalid, "TLS handshake: bytes follow the first flight before it was answered");
  }
}

Awaitable<std::size_t> TlsTransport::read_some(std::span<char> into) {
  boost::system::error_code failure;
  const std::size_t count = co_await stream_.async_read_some(asio::buffer(into.data(), into.size()),
                                                             asio::redirect_error(use_awaitable, failure));
  // Many clients close without TLS's farewell. Truncation shows in HTTP's own framing.
  if (failure == asio::error::eof || failure == asio::ssl::error::stream_truncated) co_return 0;
  if (failure) throw boost::system::system_error(failure);
  co_return count;
}

Awaitable<void> TlsTransport::write(std::string_view first, std::string_view second) {
  // Two records, or one for what is small.
  std::string joined;
  if (first.size() + second.size() <= 16 * 1024) {
    joined.reserve(first.size() + second.size());
    joined.append(first).append(second);
    first = joined;
    second = {};
  }
  for (std::string_view rest : {first, second}) {
    while (!rest.empty()) {
      expect_progress();
      const std::size_t count =
          co_await stream_.async_write_some(asio::buffer(rest.data(), rest.size()), use_awaitable);
      rest.remove_prefix(count);
    }
  }
}

Awaitable<void> TlsTransport::send_file(int descriptor, std::uint64_t offset, std::uint64_t count) {
  std::vector<char> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(count, kWriteBytes)));
  while (count > 0) {
    const ssize_t got =
        ::pread(descriptor, buffer.data(), static_cast<std::size_t>(std::min<std::uint64_t>(count, buffer.size())),
                static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw system_error(errno, "sending a file");
    if (got == 0) file_too_short();
    co_await write({buffer.data(), static_cast<std::size_t>(got)}, {});
    offset += static_cast<std::uint64_t>(got);
    count -= static_cast<std::uint64_t>(got);
  }
}

Awaitable<void> TlsTransport::finish() {
  boost::system::error_code ignored;
  // Says farewell and waits for the other side's; the sweep ends the wait when none comes.
  deadline_ns = steady_ns() + 2'000'000'000;
  co_await stream_.async_shutdown(asio::redirect_error(use_awaitable, ignored));
  socket_.shutdown(Socket::shutdown_send, ignored);
}

}  // namespace athanor::server
