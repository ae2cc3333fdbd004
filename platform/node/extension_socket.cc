#include "platform/node/extension_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>

#include "common/descriptor.h"
#include "common/error.h"
#include "platform/node/accepting.h"

namespace athanor::node {

namespace asio = boost::asio;
using Unix = asio::local::stream_protocol;

struct ExtensionSocket::Core : std::enable_shared_from_this<Core> {
  explicit Core(asio::io_context& context) : acceptor(context), retry(context) {}

  struct Connection : std::enable_shared_from_this<Connection> {
    Connection(Unix::socket from, std::shared_ptr<Core> core) : socket(std::move(from)), owner(std::move(core)) {
      ++owner->open_count;
    }
    ~Connection() { --owner->open_count; }

    void read() {
      asio::async_read_until(socket, asio::dynamic_buffer(buffer, kExtensionLineBytesMax + 1), '\n',
                             [self = this->shared_from_this()](const boost::system::error_code& failure,
                                                               std::size_t size) { self->take(failure, size); });
    }

    void take(const boost::system::error_code& failure, std::size_t size) {
      if (!owner->acceptor.is_open()) return;
      if (failure == asio::error::not_found) {
        return owner->on_nonsense(
            fmt::format("a line of the contract's socket is longer than {} bytes", kExtensionLineBytesMax));
      }
      if (failure) return;
      const std::string line = buffer.substr(0, size - 1);
      buffer.erase(0, size);
      try {
        if (!line.empty()) owner->on_message(parse_extension_message(line));
      } catch (const Error& error) {
        return owner->on_nonsense(error.what());
      }
      read();
    }

    Unix::socket socket;
    std::shared_ptr<Core> owner;
    std::string buffer;
  };

  void accept() {
    accept_all(shared_from_this(), acceptor, retry, [this](Unix::socket socket) {
      if (open_count < kConnectionsMax) std::make_shared<Connection>(std::move(socket), shared_from_this())->read();
    });
  }

  Unix::acceptor acceptor;
  asio::steady_timer retry;
  int open_count = 0;
  std::function<void(ExtensionMessage)> on_message;
  std::function<void(std::string)> on_nonsense;
};

ExtensionSocket::ExtensionSocket(asio::io_context& context, const std::string& path,
                                 std::function<void(ExtensionMessage)> on_message,
                                 std::function<void(std::string)> on_nonsense)
    : core_(std::make_shared<Core>(context)) {
  core_->on_message = std::move(on_message);
  core_->on_nonsense = std::move(on_nonsense);
  // A socket's address holds 108 bytes, and instance folders may lie deep: go through the folder's descriptor.
  const auto slash = path.rfind('/');
  const Descriptor folder(::open(path.substr(0, slash).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder) throw system_error(errno, "opening " + path.substr(0, slash));
  const std::string address = fmt::format("/proc/self/fd/{}{}", folder.get(), path.substr(slash));
  ::unlink(path.c_str());
  boost::system::error_code failure;
  core_->acceptor.open(Unix(), failure);
  if (!failure) core_->acceptor.bind(Unix::endpoint(address), failure);
  if (!failure) core_->acceptor.listen(16, failure);
  if (failure) throw Error(ErrorKind::kInternal, "making the socket {}: {}", path, failure.message());
  core_->accept();
}

ExtensionSocket::~ExtensionSocket() {
  boost::system::error_code ignored;
  core_->acceptor.close(ignored);
  core_->retry.cancel();
}

}  // namespace athanor::node
