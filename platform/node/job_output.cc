#include "platform/node/job_output.h"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <utility>

#include "common/error.h"
#include "common/log.h"
#include "platform/node/output_lines.h"
#include "platform/node/spool.h"

namespace athanor::node {

namespace asio = boost::asio;
using boost::system::error_code;

struct JobOutput::Core : std::enable_shared_from_this<Core> {
  Core(asio::io_context& context, Files& files, const Clock& with_clock, Options given, Events to)
      : clock(with_clock),
        options(std::move(given)),
        events(std::move(to)),
        spool(files, options.folder, options.spool_bytes_max),
        pipe(context),
        resend(context),
        retry(context) {}

  void read() {
    if (closed || given_up || reading || pipe_ended) return;
    // Waits for acknowledgements, or for room on the disk.
    if (spool.full() || !pending.empty()) return;
    reading = true;
    pipe.async_read_some(asio::buffer(piece), [self = shared_from_this()](const error_code& failure, std::size_t size) {
      self->reading = false;
      if (self->closed) return;
      self->take(failure ? 0 : size);
    });
  }

  void take(std::size_t size) {
    if (given_up) return;
    // Times of one stream never step back, even when the clock does.
    last_ms = std::max(last_ms, clock.wall_ms());
    pipe_ended = size == 0;
    for (std::string& line : pipe_ended ? lines.flush() : lines.feed({piece.data(), size})) {
      if (metrics) metrics->scan(line, last_ms);
      pending.push_back({last_ms, std::move(line)});
    }
    store();
  }

  void store() {
    try {
      spool.append(pending);
      pending.clear();
      full_since_ms.reset();
    } catch (const Error& error) {
      return wait_for_room(error.what());
    }
    send();
    read();
    check_finished();
  }

  void wait_for_room(const std::string& why) {
    const std::int64_t now_ms = clock.monotonic_ns() / 1'000'000;
    if (!full_since_ms) {
      full_since_ms = now_ms;
      log::warning("node", "the program's output waits: {}", why);
    }
    const bool is_much = spool.end() - spool.acknowledged() > options.window_bytes;
    if (now_ms - *full_since_ms >= options.disk_full_max_ms / (is_much ? 2 : 1)) return give_up(why);
    retry.expires_after(std::chrono::milliseconds(500));
    retry.async_wait([self = shared_from_this()](const error_code& failure) {
      if (!failure && !self->closed && !self->given_up) self->store();
    });
  }

  void give_up(const std::string& why) {
    given_up = true;
    std::uint64_t bytes = spool.give_up();
    for (const LogLine& line : std::exchange(pending, {})) bytes += line.text.size();
    const std::string what = fmt::format("{} bytes of output that were not stored are given up", bytes);
    sent = spool.end();
    try {
      spool.append({{last_ms, fmt::format("[athanor] the disk is full: the output ends here, {}", what)}});
      send();
    } catch (const Error& error) {
      log::warning("node", "{}", error.what());
    }
    events.on_failed(fmt::format("{}; {}", why, what));
  }
  void send() {
    while (sent < spool.end() && sent - spool.acknowledged() < options.window_bytes) {
      Spool::Batch batch = spool.read(sent, options.message_bytes);
      if (!events.send(encode_logs(stream, sent, batch.end_offset, batch.lines))) return;
      sent = batch.end_offset;
    }
    if (sent > spool.acknowledged() && !resend_armed) arm_resend();
  }

  void arm_resend() {
    resend_armed = true;
    resend.expires_after(std::chrono::milliseconds(resend_ms));
    resend.async_wait([self = shared_from_this(), before = spool.acknowledged()](const error_code& failure) {
      self->resend_armed = false;
      if (failure || self->closed) return;
      if (self->spool.acknowledged() == before) {
        self->sent = before;
        self->resend_ms = std::min(2 * self->resend_ms, self->options.resend_max_ms);
      } else {
        self->resend_ms = self->options.resend_first_ms;
      }
      self->send();
    });
  }

  void check_finished() {
    if (!finishing || !pipe_ended || !pending.empty() || spool.acknowledged() < spool.end()) return;
    finishing = false;
    events.on_finished();
  }

  const Clock& clock;
  const Options options;
  const Events events;
  Spool spool;
  asio::posix::stream_descriptor pipe;
  asio::steady_timer resend;
  asio::steady_timer retry;
  std::array<char, 64 << 10> piece;
  OutputLines lines;
  std::vector<LogLine> pending;  // read and not spooled: the disk is full
  std::unique_ptr<MetricScanner> metrics;
  std::string stream;
  std::uint64_t sent = 0;
  std::uint64_t notes_left_out = 0;  // since the last that was kept
  std::int64_t last_ms = 0;
  std::int64_t resend_ms = 0;
  std::optional<std::int64_t> full_since_ms;
  bool reading = false;
  bool pipe_ended = true;  // until start()
  bool resend_armed = false;
  bool finishing = false;
  bool given_up = false;  // nothing further is taken
  bool closed = false;
};

JobOutput::JobOutput(asio::io_context& context, Files& files, const Clock& clock, Options options, Events events)
    : core_(std::make_shared<Core>(context, files, clock, std::move(options), std::move(events))) {
  core_->resend_ms = core_->options.resend_first_ms;
}

JobOutput::~JobOutput() {
  core_->closed = true;
  error_code ignored;
  core_->pipe.close(ignored);
  core_->resend.cancel();
  core_->retry.cancel();
}

void JobOutput::start(Descriptor pipe, const std::string& stream, std::unique_ptr<MetricScanner> metrics) {
  core_->stream = stream;
  core_->metrics = std::move(metrics);
  core_->pipe.assign(pipe.release());
  core_->pipe_ended = false;
  core_->read();
}

void JobOutput::say(const std::string& text) {
  if (core_->closed || core_->given_up || core_->stream.empty()) return;
  // The program waits when there is no room; a note cannot, and whoever causes it may do so without end.
  if (core_->spool.full() || !core_->pending.empty()) {
    ++core_->notes_left_out;
    return;
  }
  core_->last_ms = std::max(core_->last_ms, core_->clock.wall_ms());
  if (const auto count = std::exchange(core_->notes_left_out, 0); count > 0) {
    core_->pending.push_back({core_->last_ms, fmt::format("[athanor] left out for want of room: {} notes", count)});
  }
  core_->pending.push_back({core_->last_ms, to_utf8(text)});
  core_->store();
}

void JobOutput::finish() {
  core_->finishing = true;
  core_->check_finished();
}

void JobOutput::link_opened() {
  core_->sent = core_->spool.acknowledged();
  core_->resend_ms = core_->options.resend_first_ms;
  core_->send();
}

void JobOutput::acknowledged(std::uint64_t offset) {
  core_->spool.acknowledge(offset);
  core_->sent = std::max(core_->sent, core_->spool.acknowledged());
  core_->send();
  core_->read();
  core_->check_finished();
}

std::vector<FinalMetric> JobOutput::metrics() const {
  return core_->metrics ? core_->metrics->latest() : std::vector<FinalMetric>();
}

}  // namespace athanor::node
