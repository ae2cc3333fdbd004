#include "platform/server/agent_session.h"

#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

#include "common/error.h"
#include "common/log.h"

namespace athanor::server {
namespace {

constexpr const char* kLogGroup = "/aws/sagemaker/TrainingJobs";

}  // namespace

AgentSession::AgentSession(std::shared_ptr<Link> link, boost::asio::thread_pool& pool, storage::Logs& logs,
                           const Clock& clock, Listener listener, int hello_max_ms, int room_max_ms)
    : link_(std::move(link)),
      pool_(pool),
      logs_(logs),
      clock_(clock),
      listener_(std::move(listener)),
      hello_max_ms_(hello_max_ms),
      room_max_ms_(room_max_ms),
      retry_(pool),
      hello_deadline_(pool) {}

void AgentSession::begin() {
  link_->on_message = [weak = weak_from_this()](std::string message) {
    if (const auto self = weak.lock()) self->on_message(std::move(message));
  };
  // Holds the session for as long as the link lives.
  link_->on_closed = [self = shared_from_this()](std::string reason) {
    const std::lock_guard hold(self->mutex_);
    self->closed_ = true;
    self->close_reason_ = std::move(reason);
    self->hello_deadline_.cancel();
    if (self->working_) return;
    self->working_ = true;
    boost::asio::post(self->pool_, [self] { self->work(); });
  };
  const std::lock_guard hold(mutex_);
  hello_deadline_.expires_after(std::chrono::milliseconds(hello_max_ms_));
  hello_deadline_.async_wait([weak = weak_from_this()](const auto& cancelled) {
    const auto self = cancelled ? nullptr : weak.lock();
    if (self == nullptr || self->has_said_hello()) return;
    log::warning("server", "closing a link: whoever has it did not say hello within {} ms", self->hello_max_ms_);
    self->link_->close();
  });
}

bool AgentSession::has_said_hello() const {
  const std::lock_guard hold(mutex_);
  return said_hello_;
}

void AgentSession::send(std::string message) { link_->send(std::move(message)); }

void AgentSession::close() { link_->close(); }

void AgentSession::accept(std::string instance, std::string job) {
  const std::lock_guard hold(mutex_);
  instance_ = std::move(instance);
  job_ = std::move(job);
  waits_for_accept_ = false;
  if (working_ || queue_.empty()) return;
  working_ = true;
  boost::asio::post(pool_, [self = shared_from_this()] { self->work(); });
}

std::string AgentSession::instance() const {
  const std::lock_guard hold(mutex_);
  return instance_;
}

std::string AgentSession::job() const {
  const std::lock_guard hold(mutex_);
  return job_;
}

void AgentSession::on_message(std::string message) {
  const std::lock_guard hold(mutex_);
  queue_bytes_ += message.size();
  queue_.push_back(std::move(message));
  if (queue_bytes_ > kQueueBytesMax) {
    log::warning("server", "closing the link of agent {}: it sends faster than its logs can be stored", instance_);
    link_->close();
  }
  if (working_ || waits_for_accept_) return;
  working_ = true;
  boost::asio::post(pool_, [self = shared_from_this()] { self->work(); });
}

void AgentSession::work() {
  for (;;) {
    std::string message;
    {
      std::unique_lock hold(mutex_);
      if (waits_for_accept_ && closed_) queue_.clear();
      if (queue_.empty() || waits_for_accept_) {
        working_ = false;
        if (!closed_ || close_told_) return;
        close_told_ = true;
        const std::string reason = close_reason_;
        hold.unlock();
        return listener_.on_closed(shared_from_this(), reason);
      }
      message = queue_.front();
    }
    bool taken = true;
    try {
      taken = take(message);
    } catch (const std::exception& error) {
      log::warning("server", "closing the link of agent {}: {}", instance(), error.what());
      link_->close();
    }
    const std::lock_guard hold(mutex_);
    if (!taken && !closed_) {
      retry_.expires_after(std::chrono::milliseconds(kLogsRetry_ms));
      retry_.async_wait([self = shared_from_this()](const auto&) { self->work(); });
      return;
    }
    // After a break the agent repeats what was not acknowledged.
    queue_bytes_ -= queue_.front().size();
    queue_.pop_front();
  }
}

bool AgentSession::take(const std::string& message) {
  FromAgent word = decode_from_agent(message);
  if (auto* hello = std::get_if<AgentHello>(&word)) {
    if (has_said_hello()) throw Error(ErrorKind::kInvalid, "reading an agent's message: a second hello");
    {
      const std::lock_guard hold(mutex_);
      said_hello_ = true;
      waits_for_accept_ = true;
      hello_deadline_.cancel();
    }
    latest_ = hello->report;
    listener_.on_hello(shared_from_this(), std::move(*hello));
    return true;
  }
  if (!has_said_hello()) throw Error(ErrorKind::kInvalid, "reading an agent's message: it did not say hello first");
  if (auto* report = std::get_if<AgentReport>(&word)) {
    latest_ = report->report;
    listener_.on_report(shared_from_this(), std::move(*report));
  } else if (auto* progress = std::get_if<AgentProgress>(&word)) {
    listener_.on_progress(shared_from_this(), std::move(*progress));
  } else if (auto* logs = std::get_if<AgentLogs>(&word)) {
    return append_logs(std::move(*logs));
  }
  return true;
}

bool AgentSession::append_logs(AgentLogs logs) {
  const std::string job = this->job();
  ATHANOR_ASSERT(!job.empty());
  if (!logs.stream.starts_with(job + "/")) {
    throw Error(ErrorKind::kDenied, "storing logs: the stream {} is not of job {}", logs.stream, job);
  }
  if (logs_lost_) return true;
  const std::int64_t now_ms = clock_.wall_ms();
  for (auto& event : logs.events) event.ingestion_ms = now_ms;
  try {
    const std::uint64_t durable =
        logs_.append(kLogGroup, logs.stream, instance(), logs.offset, logs.end_offset, logs.events);
    logs_wait_since_ms_.reset();
    send(encode_logs_acknowledged(durable));
  } catch (const Error& error) {
    const bool has_no_room = error.kind() == ErrorKind::kExhausted || error.kind() == ErrorKind::kUnavailable;
    if (has_no_room && may_wait_for_room(logs.stream, error)) return false;
    log::error("server", "logs of {} cannot be stored, and what is left of them is given up: {}", logs.stream,
               error.what());
    logs_lost_ = true;
    fail(error.kind() == ErrorKind::kExhausted
             ? fmt::format(
                   "ClientError: The disk is full: for {} s there was no room for what the program printed, and the "
                   "rest of it is given up. Please make room, or print less: {}",
                   room_max_ms_ / 1000, error.what())
             : fmt::format("InternalServerError: the logs of {} cannot be stored: {}", logs.stream, error.what()));
  }
  return true;
}

bool AgentSession::may_wait_for_room(const std::string& stream, const Error& error) {
  const std::int64_t now_ms = clock_.monotonic_ns() / 1'000'000;
  if (!logs_wait_since_ms_) {
    logs_wait_since_ms_ = now_ms;
    log::error("server", "logs of {} wait, and are tried again every second: {}", stream, error.what());
  }
  return now_ms - *logs_wait_since_ms_ < room_max_ms_;
}

void AgentSession::fail(const std::string& why) {
  AgentReport report{latest_};
  report.report.phase = control::Phase::kBroken;
  report.report.error = why;
  listener_.on_report(shared_from_this(), std::move(report));
}

}  // namespace athanor::server
