// A thread of the HTTP server and what all of them share. Internal to http_*.cc.
#pragma once

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>

#include "common/random.h"
#include "platform/server/http_server.h"
#include "platform/server/http_transport.h"

namespace athanor::server {

// What all connections share. Unchanged once started, but for the atomics.
struct HttpShared {
  HttpOptions options;
  HttpServer::Handler handler;
  std::map<std::string, HttpServer::LinkHandler, std::less<>> links;
  std::optional<boost::asio::ssl::context> tls;
  std::atomic<bool> stopping = false;
  std::atomic<std::size_t> connections = 0;
  std::atomic<std::size_t> requests_running = 0;
};

class HttpConnection;

// A thread with its connections. All but `start` and the context is the thread's own.
class HttpWorker {
 public:
  explicit HttpWorker(HttpShared& shared);
  ~HttpWorker();

  void start();
  void join();
  boost::asio::io_context& context() { return context_; }

  // From the accepting thread: the connection's life begins on this one.
  void adopt(HttpTransport::Socket socket);
  // Closes connections that wait for a request; with `all`, the others too.
  void close_connections(bool all);

  // "Tue, 24 Nov 2026 00:00:00 GMT", made once a second.
  const std::string& http_date();
  // A version 4 UUID.
  std::string make_request_id();

 private:
  friend class HttpConnection;
  void sweep();

  HttpShared& shared_;
  SeededRandom random_;
  std::int64_t date_s_ = -1;
  std::string date_;
  std::unordered_set<HttpConnection*> connections_;  // outlives the context, whose end ends those that are left
  boost::asio::io_context context_{1};
  boost::asio::steady_timer sweep_timer_{context_};
  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> work_;
  std::thread thread_;
};

}  // namespace athanor::server
