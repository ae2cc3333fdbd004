// Feeds control's state machine with what happens, stores every transition, and only then carries out its actions.
//
// All of it runs on one thread (the `control` context's). Blocking work is elsewhere: commits on the store's writer,
// processes on compute's thread, logs on the sessions' pool.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/clock.h"
#include "common/random.h"
#include "platform/compute/compute.h"
#include "platform/control/journal.h"
#include "platform/server/agent_session.h"
#include "platform/server/job_board.h"
#include "platform/server/key_store.h"
#include "platform/store/store.h"

namespace athanor::server {

struct DriverOptions {
  std::string region;
  std::string account;
  std::string ca_bundle;  // PEM
};

class Driver {
 public:
  // Gets nothing, or the athanor::Error. Called on the control thread.
  using Done = std::function<void(std::exception_ptr error)>;
  // Makes compute with the driver as its listener.
  using ComputeFactory = std::function<std::unique_ptr<compute::Compute>(compute::Events events)>;

  Driver(boost::asio::io_context& control, const Clock& clock, Random& random, store::Store& store, JobBoard& board,
         KeyStore& keys, DriverOptions options, const ComputeFactory& make_compute);
  ~Driver();

  // Takes up the stored jobs. Before anything else, on the control thread or before it runs.
  void begin(store::Contents contents);

  // Any thread, all below. `done` comes when the change is durable.
  void submit(control::JobRecord record, Done done);  // sequence and secret are the driver's to fill in
  void stop(std::string name, Done done);
  void remove(std::string name, Done done);
  AgentSession::Listener agent_listener();
  // Stops every job, takes no more, and calls `done` when no agent is left.
  void end_all(std::int64_t grace_s, std::function<void()> done);
  std::size_t slots() const { return slots_; }
  // Jobs that are not over.
  std::size_t live_jobs() const { return live_count_; }

 private:
  using Session = std::shared_ptr<AgentSession>;

  control::Now now() const;
  void feed(const control::Event& event);
  void flush();
  void on_stored(std::exception_ptr error);
  void run(const std::vector<control::Action>& actions);
  void run(const control::Action& action, const control::Launch& launch);
  void run(const control::Action& action, const control::Tell& tell);
  void run(const control::Action& action, const control::Discard& discard);
  void run(const control::Action& action, const control::Clean& clean);
  void arm_timer();
  void do_submit(control::JobRecord record, Done done);
  void do_stop(const std::string& name, Done done);
  void do_remove(const std::string& name, Done done);
  void on_hello(const Session& session, const AgentHello& hello);
  void on_session_closed(const Session& session, const std::string& reason);
  std::string token_of(const control::JobRecord& record, const std::string& instance) const;
  void check_end_all();
  void post(std::function<void()> work);

  boost::asio::io_context& control_;
  const Clock& clock_;
  Random& random_;
  store::Store& store_;
  JobBoard& board_;
  KeyStore& keys_;
  const DriverOptions options_;
  std::unique_ptr<compute::Compute> compute_;
  std::size_t slots_ = 0;
  std::atomic<std::size_t> live_count_ = 0;

  // Of the control thread alone.
  std::unique_ptr<control::Journal> journal_;
  boost::asio::steady_timer timer_;
  boost::asio::steady_timer retry_;
  std::int64_t last_sequence_ = 0;
  std::unordered_map<std::string, std::int64_t> names_;              // every job that there is, stored or about to be
  std::map<std::int64_t, std::string> unfinished_;                   // jobs whose end is not stored yet
  std::map<std::string, Session> sessions_;                          // by instance
  std::map<std::int64_t, compute::Network> networks_;                // by job
  std::map<std::int64_t, std::vector<control::Action>> unprepared_;  // Prepare orders that wait for the network
  std::unordered_map<std::int64_t, std::vector<Done>> removals_;     // of jobs whose agents are still going home

  // One commit at a time.
  bool committing_ = false;
  struct Commit {
    bool has_batch = false;
    std::vector<JobBoard::JobPointer> snapshots;
    std::vector<std::int64_t> finished;
    std::vector<std::pair<std::int64_t, std::string>> removed;
    std::vector<std::pair<std::int64_t, Done>> waiters;
    std::vector<store::Key> keys;     // to be saved with the next commit if this one fails
    std::vector<std::int64_t> ended;  // likewise
  };
  Commit commit_;
  std::vector<std::pair<std::int64_t, Done>> waiters_;         // of the next commit: (job or 0, done)
  std::vector<std::pair<std::int64_t, std::string>> removed_;  // with the next commit
  std::vector<std::int64_t> ended_;                            // jobs whose keys go with the next commit
  std::vector<store::Key> keys_to_store_;                      // with the next commit
  std::string last_store_error_;

  bool ending_ = false;
  std::function<void()> on_all_ended_;
};

}  // namespace athanor::server
