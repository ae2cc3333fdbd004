// A store for tests of what speaks S3: it answers as the test says, and remembers what it was asked.
#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace athanor::storage {

struct Asked {
  std::string method, target, head, body;

  std::string line() const { return method + " " + target; }
  // A header's value; empty when absent.
  std::string header(const std::string& name) const {
    const auto at = head.find("\r\n" + name + ": ");
    if (at == std::string::npos) return {};
    const auto from = at + name.size() + 4;
    return head.substr(from, head.find("\r\n", from) - from);
  }
};

struct Answer {
  int status = 200;
  std::string headers;  // lines, each ended by \r\n
  std::string body;
  bool lost = false;         // the connection closes instead
  bool breaks_off = false;   // …or after half of the body
  std::uint64_t length = 0;  // of a HEAD
  std::string length_text;   // of a HEAD, when it is no number
};

// Listens on a port of its own, with a thread for each connection; `nth` counts the same requests before this one, from 0.
class Stub {
 public:
  using Handler = std::function<Answer(const Asked&, int nth)>;

  explicit Stub(Handler handler) : handler_(std::move(handler)), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(listener_, 16), 0);
    socklen_t length = sizeof(address);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    accepting_ = std::thread([this] {
      for (int connection; (connection = ::accept(listener_, nullptr, nullptr)) >= 0;) {
        const std::lock_guard lock(mutex_);
        connections_.push_back(connection);
        threads_.emplace_back([this, connection] { serve(connection); });
      }
    });
  }
  ~Stub() {
    ::shutdown(listener_, SHUT_RDWR);
    accepting_.join();
    for (const int connection : connections_) ::shutdown(connection, SHUT_RDWR);
    for (auto& thread : threads_) thread.join();
    for (const int connection : connections_) ::close(connection);
    ::close(listener_);
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::vector<Asked> asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  std::vector<std::string> lines() {
    std::vector<std::string> lines;
    for (const auto& one : asked()) lines.push_back(one.line());
    return lines;
  }

 private:
  void serve(int connection) {
    std::string seen;
    char buffer[65536];
    const auto more = [&] {
      const ssize_t got = ::recv(connection, buffer, sizeof(buffer), 0);
      if (got > 0) seen.append(buffer, static_cast<std::size_t>(got));
      return got > 0;
    };
    for (;;) {
      std::size_t end;
      while ((end = seen.find("\r\n\r\n")) == std::string::npos) {
        if (!more()) return;
      }
      Asked asked;
      asked.head = seen.substr(0, end + 2);
      const auto space = asked.head.find(' ');
      asked.method = asked.head.substr(0, space);
      asked.target = asked.head.substr(space + 1, asked.head.find(' ', space + 1) - space - 1);
      const std::string length = asked.header("Content-Length");
      const std::size_t whole = end + 4 + (length.empty() ? 0 : std::stoull(length));
      while (seen.size() < whole) {
        if (!more()) return;
      }
      asked.body = seen.substr(end + 4, whole - end - 4);
      seen.erase(0, whole);
      int nth = 0;
      {
        const std::lock_guard lock(mutex_);
        for (const auto& before : asked_) nth += before.line() == asked.line() ? 1 : 0;
        asked_.push_back(asked);
      }
      const Answer answer = handler_(asked, nth);
      if (answer.lost) {
        ::shutdown(connection, SHUT_RDWR);
        return;
      }
      std::string bytes = std::to_string(asked.method == "HEAD" ? answer.length : answer.body.size());
      if (!answer.length_text.empty()) bytes = answer.length_text;
      std::string reply =
          fmt::format("HTTP/1.1 {} X\r\nContent-Length: {}\r\n{}\r\n", answer.status, bytes, answer.headers);
      if (asked.method != "HEAD") {
        reply += answer.breaks_off ? answer.body.substr(0, answer.body.size() / 2) : answer.body;
      }
      for (std::size_t sent = 0; sent < reply.size();) {
        const ssize_t count = ::send(connection, reply.data() + sent, reply.size() - sent, MSG_NOSIGNAL);
        if (count <= 0) return;
        sent += static_cast<std::size_t>(count);
      }
      if (answer.breaks_off) {
        ::shutdown(connection, SHUT_RDWR);
        return;
      }
    }
  }

  const Handler handler_;
  const int listener_;
  std::uint16_t port_ = 0;
  std::mutex mutex_;
  std::vector<Asked> asked_;          // guarded by mutex_
  std::vector<int> connections_;      // guarded by mutex_
  std::vector<std::thread> threads_;  // guarded by mutex_
  std::thread accepting_;
};

}  // namespace athanor::storage
