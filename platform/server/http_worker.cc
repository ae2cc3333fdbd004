#include "platform/server/http_worker.h"

#include <pthread.h>
#include <signal.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <ctime>

#include "platform/server/http_connection.h"

namespace athanor::server {

namespace asio = boost::asio;

namespace {

constexpr auto kSweepInterval = std::chrono::milliseconds(250);

// Only names a request in replies and logs: it must be unlikely to repeat, not secret.
std::uint64_t seed() {
  SystemRandom random;
  return random.next();
}

}  // namespace

HttpWorker::HttpWorker(HttpShared& shared) : shared_(shared), random_(seed()) {}

HttpWorker::~HttpWorker() { join(); }

void HttpWorker::start() {
  work_.emplace(context_.get_executor());
  sweep();
  thread_ = std::thread([this] {
    // Signals are main's.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    context_.run();
  });
}

void HttpWorker::join() {
  work_.reset();
  context_.stop();
  if (thread_.joinable()) thread_.join();
}

void HttpWorker::adopt(HttpTransport::Socket socket) {
  asio::post(context_, [this, socket = std::move(socket)]() mutable {
    const auto connection = std::make_shared<HttpConnection>(*this, std::move(socket));
    asio::co_spawn(context_, connection->run(), asio::detached);
  });
}

void HttpWorker::close_connections(bool all) {
  asio::post(context_, [this, all] {
    for (HttpConnection* connection : connections_) {
      if (all || connection->waits_for_request()) connection->close();
    }
  });
}

void HttpWorker::sweep() {
  sweep_timer_.expires_after(kSweepInterval);
  sweep_timer_.async_wait([this](const boost::system::error_code& failure) {
    if (failure) return;
    const std::int64_t now_ns = steady_ns();
    for (HttpConnection* connection : connections_) connection->check_deadline(now_ns);
    sweep();
  });
}

const std::string& HttpWorker::http_date() {
  const std::time_t now_s = std::time(nullptr);
  if (now_s != date_s_) {
    date_s_ = now_s;
    std::tm parts;
    gmtime_r(&now_s, &parts);
    char text[64];
    date_.assign(text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts));
  }
  return date_;
}

std::string HttpWorker::make_request_id() {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::uint64_t bits[2] = {random_.next(), random_.next()};
  std::string id(36, '-');
  std::size_t nibble = 0;
  for (std::size_t i = 0; i < id.size(); ++i) {
    if (i == 8 || i == 13 || i == 18 || i == 23) continue;
    unsigned value = (bits[nibble / 16] >> (nibble % 16 * 4)) & 15;
    if (i == 14) value = 4;
    if (i == 19) value = 8 | (value & 3);
    id[i] = kDigits[value];
    ++nibble;
  }
  return id;
}

}  // namespace athanor::server
