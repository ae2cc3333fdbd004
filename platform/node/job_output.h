// The program's output on its way from the pipe through the spool to the server: lines with their time, appended to
// the spool before they are sent, sent again when the server does not say in time that it has them. When the spool
// is full the pipe is not read, and the program waits; no line is lost.
//
// A disk that stays full ends it: what the server does not have is given up, so that there is room again, and a last line
// says so.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/descriptor.h"
#include "common/files.h"
#include "platform/node/metric_scanner.h"

namespace athanor::node {

class JobOutput {
 public:
  struct Options {
    std::string folder;  // of the spool
    std::uint64_t spool_bytes_max = 1 << 30;
    std::uint64_t window_bytes = 4 << 20;  // under way at most
    std::size_t message_bytes = 256 << 10;
    std::int64_t resend_first_ms = 500;
    std::int64_t resend_max_ms = 10'000;
    // How long the program waits for room before the job fails: half as long when more than a window waits in the spool,
    // so that of jobs that share a disk the one that fills it ends first.
    std::int64_t disk_full_max_ms = 60'000;
  };
  struct Events {
    // To the server, if the link is open (and then returns true).
    std::function<bool(std::string message)> send;
    // All output has been read and is at the server.
    std::function<void()> on_finished;
    // The disk stayed full, and output was given up. Nothing more will come.
    std::function<void(std::string error)> on_failed;
  };

  // Everything on the context's thread. `files`, `clock` outlive it.
  JobOutput(boost::asio::io_context& context, Files& files, const Clock& clock, Options options, Events events);
  ~JobOutput();

  // The program runs: from now on `pipe` (non-blocking) is read until its end.
  void start(Descriptor pipe, const std::string& stream, std::unique_ptr<MetricScanner> metrics);
  // A line of our own among the program's. Left out when the spool is full; the next that is kept says how many were.
  void say(const std::string& text);
  // Call on_finished once the pipe has ended and all is at the server.
  void finish();
  void link_opened();
  void acknowledged(std::uint64_t offset);
  std::vector<FinalMetric> metrics() const;

 private:
  struct Core;
  std::shared_ptr<Core> core_;
};

}  // namespace athanor::node
