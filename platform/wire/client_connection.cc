#include "platform/wire/client_connection.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "common/error.h"

namespace athanor::wire {

namespace {

std::string tls_reason() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "the connection was closed";
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "error " + std::to_string(code);
}

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

std::shared_ptr<SSL_CTX> make_client_tls(const std::string& ca_file) {
  std::shared_ptr<SSL_CTX> tls(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  ATHANOR_ASSERT(tls != nullptr);
  SSL_CTX_set_min_proto_version(tls.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(tls.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_mode(tls.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (ca_file.empty()) {
    SSL_CTX_set_default_verify_paths(tls.get());
  } else if (SSL_CTX_load_verify_locations(tls.get(), ca_file.c_str(), nullptr) != 1) {
    throw Error(ErrorKind::kInvalid, "reading the certificate authorities in {}: {}", ca_file, tls_reason());
  }
  return tls;
}

ClientConnection::ClientConnection(const Endpoint& endpoint, SSL_CTX* tls, Timeouts timeouts)
    : endpoint_(endpoint), timeouts_(timeouts) {
  try {
    connect_any();
    if (tls != nullptr) shake_hands(tls);
  } catch (...) {
    if (session_ != nullptr) SSL_free(session_);
    if (socket_ >= 0) ::close(socket_);
    throw;
  }
}

ClientConnection::~ClientConnection() {
  if (session_ != nullptr) SSL_free(session_);
  ::close(socket_);
}

void ClientConnection::connect_any() {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failure = ::getaddrinfo(endpoint_.host.c_str(), std::to_string(endpoint_.port).c_str(), &hints, &found);
  if (failure != 0) {
    throw Error(ErrorKind::kUnavailable, "connecting to {}: looking up {}: {}", endpoint_.url(), endpoint_.host,
                ::gai_strerror(failure));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, ::freeaddrinfo);
  int last_error = ETIMEDOUT;
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    socket_ = ::socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (socket_ < 0) {
      last_error = errno;
      continue;
    }
    if (::connect(socket_, address->ai_addr, address->ai_addrlen) == 0) {
      last_error = 0;
    } else if (errno == EINPROGRESS) {
      last_error = ETIMEDOUT;
      if (wait(POLLOUT, timeouts_.connect_ms)) {
        socklen_t length = sizeof(last_error);
        ::getsockopt(socket_, SOL_SOCKET, SO_ERROR, &last_error, &length);
      }
    } else {
      last_error = errno;
    }
    if (last_error == 0) {
      const int on = 1;
      ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      return;
    }
    ::close(socket_);
    socket_ = -1;
  }
  throw Error(ErrorKind::kUnavailable, "connecting to {}: {}", endpoint_.url(), std::strerror(last_error));
}

void ClientConnection::shake_hands(SSL_CTX* tls) {
  session_ = SSL_new(tls);
  ATHANOR_ASSERT(session_ != nullptr);
  SSL_set_fd(session_, socket_);
  // An address is checked against the certificate's addresses, a name against its names.
  if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session_), endpoint_.host.c_str()) != 1) {
    SSL_set_tlsext_host_name(session_, endpoint_.host.c_str());
    SSL_set1_host(session_, endpoint_.host.c_str());
  }
  for (;;) {
    ERR_clear_error();
    const int result = SSL_connect(session_);
    if (result == 1) return;
    const int what = SSL_get_error(session_, result);
    if (what == SSL_ERROR_WANT_READ) {
      wait_or_throw(POLLIN, "shaking hands with");
    } else if (what == SSL_ERROR_WANT_WRITE) {
      wait_or_throw(POLLOUT, "shaking hands with");
    } else {
      const long verified = SSL_get_verify_result(session_);
      throw Error(ErrorKind::kUnavailable, "connecting to {}: TLS: {}", endpoint_.url(),
                  verified != X509_V_OK ? X509_verify_cert_error_string(verified) : tls_reason());
    }
  }
}

bool ClientConnection::wait(short events, std::int64_t timeout_ms) {
  const std::int64_t deadline_ms = now_ms() + timeout_ms;
  for (;;) {
    pollfd entry{socket_, events, 0};
    const std::int64_t left_ms = deadline_ms - now_ms();
    const int ready = ::poll(&entry, 1, static_cast<int>(left_ms > 0 ? left_ms : 0));
    if (ready > 0) return true;
    if (ready == 0) return false;
    if (errno != EINTR) throw system_error(errno, "waiting for " + endpoint_.url());
  }
}

void ClientConnection::wait_or_throw(short events, const char* doing) {
  if (wait(events, timeouts_.idle_ms)) return;
  throw Error(ErrorKind::kUnavailable, "{} {}: nothing moved for {} ms", doing, endpoint_.url(), timeouts_.idle_ms);
}

std::size_t ClientConnection::read_some(std::span<char> into) {
  for (;;) {
    if (session_ == nullptr) {
      const ssize_t got = ::recv(socket_, into.data(), into.size(), 0);
      if (got >= 0) return static_cast<std::size_t>(got);
      if (errno == EINTR) continue;
      if (errno != EAGAIN) {
        throw Error(ErrorKind::kUnavailable, "reading from {}: {}", endpoint_.url(), std::strerror(errno));
      }
      wait_or_throw(POLLIN, "reading from");
      continue;
    }
    ERR_clear_error();
    std::size_t got = 0;
    const int result = SSL_read_ex(session_, into.data(), into.size(), &got);
    if (result == 1) return got;
    const int what = SSL_get_error(session_, result);
    if (what == SSL_ERROR_ZERO_RETURN) return 0;
    if (what == SSL_ERROR_WANT_READ) {
      wait_or_throw(POLLIN, "reading from");
    } else if (what == SSL_ERROR_WANT_WRITE) {
      wait_or_throw(POLLOUT, "reading from");
    } else {
      throw Error(ErrorKind::kUnavailable, "reading from {}: TLS: {}", endpoint_.url(), tls_reason());
    }
  }
}

void ClientConnection::write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    std::size_t put = 0;
    if (session_ == nullptr) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0 && errno == EAGAIN) {
        wait_or_throw(POLLOUT, "writing to");
        continue;
      }
      if (sent < 0) throw Error(ErrorKind::kUnavailable, "writing to {}: {}", endpoint_.url(), std::strerror(errno));
      put = static_cast<std::size_t>(sent);
    } else {
      ERR_clear_error();
      const int result = SSL_write_ex(session_, bytes.data(), bytes.size(), &put);
      if (result != 1) {
        const int what = SSL_get_error(session_, result);
        if (what == SSL_ERROR_WANT_READ) {
          wait_or_throw(POLLIN, "writing to");
        } else if (what == SSL_ERROR_WANT_WRITE) {
          wait_or_throw(POLLOUT, "writing to");
        } else {
          throw Error(ErrorKind::kUnavailable, "writing to {}: TLS: {}", endpoint_.url(), tls_reason());
        }
        continue;
      }
    }
    bytes.remove_prefix(put);
  }
}

bool ClientConnection::readable(std::int64_t wait_ms) {
  if (session_ != nullptr && SSL_pending(session_) > 0) return true;
  return wait(POLLIN, wait_ms);
}

}  // namespace athanor::wire
