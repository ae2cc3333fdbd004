// One agent's connection. Its messages are taken one after another on the worker pool, because appending logs waits for
// the disk: what an agent said before its last report is durable before that report is acted upon, so a job whose end
// is seen has all its lines in the log.
//
// Logs that find no room are tried again every second, and all behind them waits: for `room_max_ms`, for what waits may hold
// the very room. Then, or when they cannot be stored for any other reason, the instance fails, as if it had reported that it
// is broken, and further logs of its are let go without a word: none of them was acknowledged.
//
// Whoever connects says hello within `hello_max_ms`, or the link is closed: strangers hold none of the port's connections.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "common/clock.h"
#include "common/error.h"
#include "common/link.h"
#include "platform/server/agent_messages.h"
#include "platform/storage/logs.h"

namespace athanor::server {

class AgentSession : public std::enable_shared_from_this<AgentSession> {
 public:
  // What the control plane wants to know. Called on the pool, in order, never two at once for one session.
  struct Listener {
    // Nothing further is taken until accept() or close().
    std::function<void(std::shared_ptr<AgentSession> session, AgentHello hello)> on_hello;
    std::function<void(std::shared_ptr<AgentSession> session, AgentReport report)> on_report;
    std::function<void(std::shared_ptr<AgentSession> session, AgentProgress progress)> on_progress;
    std::function<void(std::shared_ptr<AgentSession> session, std::string reason)> on_closed;
  };

  static constexpr int kHelloMax_ms = 10'000;
  static constexpr int kRoomMax_ms = 60'000;

  AgentSession(std::shared_ptr<Link> link, boost::asio::thread_pool& pool, storage::Logs& logs, const Clock& clock,
               Listener listener, int hello_max_ms = kHelloMax_ms, int room_max_ms = kRoomMax_ms);
  // Starts listening.
  void begin();

  // Any thread.
  void send(std::string message);
  void close();

  // Once the hello is believed: the messages behind it are taken.
  void accept(std::string instance, std::string job);
  // Both empty until then. What an agent says is of this job, whatever it may call it.
  std::string instance() const;
  std::string job() const;

 private:
  static constexpr std::size_t kQueueBytesMax = 64 << 20;
  static constexpr int kLogsRetry_ms = 1000;

  void on_message(std::string message);
  bool has_said_hello() const;
  void work();
  // False when it must be tried again later.
  bool take(const std::string& message);
  bool append_logs(AgentLogs logs);
  bool may_wait_for_room(const std::string& stream, const Error& error);
  void fail(const std::string& why);

  const std::shared_ptr<Link> link_;
  boost::asio::thread_pool& pool_;
  storage::Logs& logs_;
  const Clock& clock_;
  const Listener listener_;
  const int hello_max_ms_;
  const int room_max_ms_;
  boost::asio::steady_timer retry_;

  // Of work() alone.
  control::Report latest_;                          // what the agent said last
  std::optional<std::int64_t> logs_wait_since_ms_;  // for room
  bool logs_lost_ = false;                          // the instance has failed for them

  mutable std::mutex mutex_;  // guards all below
  boost::asio::steady_timer hello_deadline_;
  std::deque<std::string> queue_;
  std::size_t queue_bytes_ = 0;
  bool working_ = false;
  bool said_hello_ = false;
  bool waits_for_accept_ = false;
  bool closed_ = false;
  std::string close_reason_;
  bool close_told_ = false;
  std::string instance_;
  std::string job_;
};

}  // namespace athanor::server
