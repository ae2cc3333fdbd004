#include "platform/server/driver.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

#include "common/error.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/log.h"

namespace athanor::server {
namespace {

constexpr int kStoreRetry_ms = 1000;
// A role's key ends with its job. Should it not, it ends when the job cannot be running any more: after its longest run
// and its two uploads, and a day for good measure.
std::int64_t role_key_life_ms(const control::JobRecord& record) {
  return record.job.max_runtime_s * 1000 + 2 * control::kUploadMax_ms + 24LL * 3600 * 1000;
}

// "arn:aws:sts::ACCOUNT:assumed-role/ROLE/SageMaker", as the service's jobs are seen by others.
std::string role_session_arn(const control::JobRecord& record, const std::string& account) {
  std::string role = "athanor";
  try {
    const json::value request = json::parse(record.job.request, "a stored training job");
    role = json::find_string(request.as_object(), "RoleArn").value_or(role);
  } catch (const std::exception& error) {
    log::warning("server", "job {}: {}", record.job.name, error.what());
  }
  return fmt::format("arn:aws:sts::{}:assumed-role/{}/SageMaker", account, role.substr(role.rfind('/') + 1));
}

std::exception_ptr make_error(ErrorKind kind, const std::string& text) {
  return std::make_exception_ptr(Error(kind, text));
}

}  // namespace

Driver::Driver(boost::asio::io_context& control, const Clock& clock, Random& random, store::Store& store,
               JobBoard& board, KeyStore& keys, DriverOptions options, const ComputeFactory& make_compute)
    : control_(control),
      clock_(clock),
      random_(random),
      store_(store),
      board_(board),
      keys_(keys),
      options_(std::move(options)),
      timer_(control),
      retry_(control) {
  compute::Events events;
  events.on_gone = [this](std::string instance, std::string why) {
    post([this, instance = std::move(instance), why = std::move(why)] { feed(control::InstanceGone{instance, why}); });
  };
  events.on_failed = [this](std::int64_t job, std::uint32_t attempt, std::string why) {
    post([this, job, attempt, why = std::move(why)] {
      log::warning("server", "job {}: {}", job, why);
      feed(control::LaunchFailed{job, attempt, why});
    });
  };
  events.on_network = [this](std::int64_t job, std::uint32_t, compute::Network network) {
    post([this, job, network = std::move(network)]() mutable {
      if (journal_->machine().find(job) == nullptr) return;  // it is over, and nobody would forget its network
      networks_[job] = std::move(network);
      run(std::exchange(unprepared_[job], {}));
      unprepared_.erase(job);
    });
  };
  compute_ = make_compute(std::move(events));
  slots_ = compute_->slots().size();
}

Driver::~Driver() = default;

void Driver::post(std::function<void()> work) { boost::asio::post(control_, std::move(work)); }

control::Now Driver::now() const { return {clock_.wall_ms(), clock_.monotonic_ns() / 1'000'000}; }

void Driver::begin(store::Contents contents) {
  last_sequence_ = contents.last_sequence;
  std::vector<control::JobRecord> live;
  std::set<std::string> instances;
  std::set<std::int64_t> jobs;
  for (control::JobRecord& record : contents.jobs) {
    names_[record.job.name] = record.job.sequence;
    board_.publish(std::make_shared<const control::Job>(record.job));
    if (control::is_over(record)) continue;
    for (const auto& instance : record.instances) {
      if (!instance.gone) instances.insert(instance.id);
    }
    unfinished_[record.job.sequence] = record.job.name;
    jobs.insert(record.job.sequence);
    live.push_back(std::move(record));
  }
  for (store::Key& key : contents.keys) keys_.add(std::move(key));
  compute_->keep_only(std::move(instances), jobs);
  if (!live.empty()) log::info("server", "taking up {} job{}", live.size(), live.size() == 1 ? "" : "s");
  live_count_ = unfinished_.size();
  journal_ = std::make_unique<control::Journal>(control::Machine(compute_->slots(), std::move(live)));
  feed(control::Restarted{});
}

void Driver::submit(control::JobRecord record, Done done) {
  post([this, record = std::move(record), done = std::move(done)]() mutable {
    do_submit(std::move(record), std::move(done));
  });
}

void Driver::stop(std::string name, Done done) {
  post([this, name = std::move(name), done = std::move(done)]() mutable { do_stop(name, std::move(done)); });
}

void Driver::remove(std::string name, Done done) {
  post([this, name = std::move(name), done = std::move(done)]() mutable { do_remove(name, std::move(done)); });
}

void Driver::do_submit(control::JobRecord record, Done done) {
  if (ending_) return done(make_error(ErrorKind::kUnavailable, "creating a training job: the server is going down"));
  control::Job& job = record.job;
  if (names_.contains(job.name)) {
    return done(make_error(ErrorKind::kConflict,
                           fmt::format("Training job names must be unique within an AWS account and region, and a "
                                       "training job with this name already exists ({})",
                                       job.arn)));
  }
  const auto needed = static_cast<std::size_t>(job.instance_count);
  if (needed > slots_) {
    const std::size_t used = journal_->machine().slots_in_use();
    return done(make_error(
        ErrorKind::kExhausted,
        fmt::format("The account-level service limit '{} for training job usage' is {} Instances, with current "
                    "utilization of {} Instances and a request delta of {} Instances. This machine is cut into {} "
                    "instances: ask for at most that many, or start athanor with more (--instances).",
                    job.instance_type, slots_, used, needed, slots_)));
  }
  job.sequence = ++last_sequence_;
  record.secret = random_.hex(32);
  names_[job.name] = job.sequence;
  unfinished_[job.sequence] = job.name;
  live_count_ = unfinished_.size();
  waiters_.emplace_back(job.sequence, std::move(done));
  feed(control::Submitted{std::move(record)});
}

void Driver::do_stop(const std::string& name, Done done) {
  const auto known = names_.find(name);
  const auto snapshot = board_.find(name);
  if (known == names_.end() || snapshot == nullptr) {
    return done(make_error(ErrorKind::kNotFound, "Requested resource not found."));
  }
  const control::JobRecord* record = journal_->machine().find(known->second);
  const control::Status status = record != nullptr ? record->job.status : snapshot->status;
  if (control::is_terminal(status)) {
    return done(make_error(ErrorKind::kConflict,
                           fmt::format("The request was rejected because the training job is in status {}.",
                                       control::to_string(status))));
  }
  if (record == nullptr) return done(nullptr);  // its end is being stored
  waiters_.emplace_back(0, std::move(done));
  feed(control::StopRequested{known->second});
}

void Driver::do_remove(const std::string& name, Done done) {
  const auto known = names_.find(name);
  const auto snapshot = board_.find(name);
  if (known == names_.end() || snapshot == nullptr) {
    return done(make_error(ErrorKind::kNotFound, "Requested resource not found."));
  }
  if (!control::is_terminal(snapshot->status)) {
    return done(make_error(ErrorKind::kConflict,
                           fmt::format("The request was rejected because the training job is in status {}.",
                                       control::to_string(snapshot->status))));
  }
  const std::int64_t job = known->second;
  if (unfinished_.contains(job)) {  // its agents are going home; that takes a moment, and has a bound
    removals_[job].push_back(std::move(done));
    return;
  }
  const auto is_job = [job](const auto& removal) { return removal.first == job; };
  if (std::any_of(removed_.begin(), removed_.end(), is_job) ||
      std::any_of(commit_.removed.begin(), commit_.removed.end(), is_job)) {  // by an earlier request, and once only
    return done(make_error(ErrorKind::kNotFound, "Requested resource not found."));
  }
  removed_.emplace_back(job, name);
  waiters_.emplace_back(0, std::move(done));
  flush();
}

void Driver::end_all(std::int64_t grace_s, std::function<void()> done) {
  post([this, grace_s, done = std::move(done)]() mutable {
    ending_ = true;
    on_all_ended_ = std::move(done);
    std::vector<std::int64_t> jobs;
    for (const auto& [job, record] : journal_->machine().jobs()) jobs.push_back(job);
    for (const std::int64_t job : jobs) feed(control::StopRequested{job, grace_s});
    check_end_all();
  });
}

void Driver::check_end_all() {
  if (!ending_ || !unfinished_.empty() || on_all_ended_ == nullptr) return;
  std::exchange(on_all_ended_, nullptr)();
}

void Driver::feed(const control::Event& event) {
  journal_->feed(event, now());
  flush();
  arm_timer();
}

void Driver::flush() {
  if (committing_) return;
  auto batch = journal_->next();
  if (!batch && removed_.empty() && ended_.empty()) {
    // Nothing to store: a request that changed nothing is done, an action that waits for nothing runs.
    run(journal_->ready());
    for (auto& [job, done] : std::exchange(waiters_, {})) done(nullptr);
    return;
  }
  committing_ = true;
  commit_ = {};
  store::Changes changes;
  commit_.waiters = std::exchange(waiters_, {});
  commit_.removed = std::exchange(removed_, {});
  for (const auto& [job, name] : commit_.removed) changes.removed_jobs.push_back(job);
  changes.ended_jobs = std::exchange(ended_, {});
  changes.keys = std::exchange(keys_to_store_, {});
  if (batch) {
    commit_.has_batch = true;
    for (control::JobRecord& record : batch->records) {
      const std::int64_t job = record.job.sequence;
      commit_.snapshots.push_back(std::make_shared<const control::Job>(record.job));
      const bool is_live = journal_->machine().find(job) != nullptr;
      if (!is_live) {
        commit_.finished.push_back(job);
        std::erase_if(changes.keys, [job](const store::Key& key) { return key.job == job; });
        changes.ended_jobs.push_back(job);
      } else if (record.step != control::Step::kWaiting && !keys_.find_by_job(job)) {
        store::Key key = make_key(random_, role_session_arn(record, options_.account), job,
                                  now().wall_ms + role_key_life_ms(record));
        changes.keys.push_back(key);
        keys_.add(std::move(key));
      }
    }
    changes.jobs = std::move(batch->records);
  }
  commit_.ended = changes.ended_jobs;
  commit_.keys = changes.keys;
  store_.save(std::move(changes), [this](std::exception_ptr error) { post([this, error] { on_stored(error); }); });
}

void Driver::on_stored(std::exception_ptr error) {
  Commit commit = std::exchange(commit_, {});
  if (error == nullptr) {
    last_store_error_.clear();
    committing_ = false;
    for (auto& snapshot : commit.snapshots) board_.publish(std::move(snapshot));
    for (const auto& [job, name] : commit.removed) {
      ATHANOR_ASSERT(names_.at(name) == job);
      board_.remove(name);
      names_.erase(name);
    }
    for (const std::int64_t job : commit.finished) {
      keys_.remove_of_job(job);
      networks_.erase(job);
      unprepared_.erase(job);
      const std::string name = unfinished_.at(job);
      unfinished_.erase(job);
      if (const auto it = removals_.find(job); it != removals_.end()) {
        removed_.emplace_back(job, name);
        for (Done& done : it->second) waiters_.emplace_back(0, std::move(done));
        removals_.erase(it);
      }
    }
    live_count_ = unfinished_.size();
    if (commit.has_batch) run(journal_->committed());
    for (auto& [job, done] : commit.waiters) done(nullptr);
    flush();
    check_end_all();
    return;
  }

  std::string text = "the store failed";
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    text = e.what();
  }
  if (text != last_store_error_) log::error("server", "storing transitions: {}; trying again every second", text);
  last_store_error_ = text;
  // Requests that were waiting are told; what has begun goes on as soon as it can be stored.
  if (commit.has_batch) {
    for (const std::int64_t job : journal_->failed(now())) {
      names_.erase(unfinished_.at(job));
      unfinished_.erase(job);
      keys_.remove_of_job(job);
    }
    live_count_ = unfinished_.size();
  }
  ended_ = std::move(commit.ended);
  for (store::Key& key : commit.keys) {
    if (unfinished_.contains(key.job)) keys_to_store_.push_back(std::move(key));
  }
  for (auto& [job, done] : commit.waiters) done(error);
  check_end_all();  // the last job may have been one that is withdrawn
  retry_.expires_after(std::chrono::milliseconds(kStoreRetry_ms));
  retry_.async_wait([this](const auto& cancelled) {
    if (cancelled) return;
    committing_ = false;
    flush();
  });
}

void Driver::arm_timer() {
  const auto deadline_ms = journal_->machine().next_deadline_ms();
  if (!deadline_ms) {
    timer_.cancel();
    return;
  }
  const std::int64_t wait_ms = std::max<std::int64_t>(*deadline_ms - now().steady_ms, 0) + 1;
  timer_.expires_after(std::chrono::milliseconds(wait_ms));
  timer_.async_wait([this](const auto& cancelled) {
    if (!cancelled) feed(control::TimePassed{});
  });
}

void Driver::run(const std::vector<control::Action>& actions) {
  for (const control::Action& action : actions) {
    std::visit([&](const auto& what) { run(action, what); }, action.what);
  }
}

void Driver::run(const control::Action& action, const control::Launch& launch) {
  const control::JobRecord* record = journal_->machine().find(action.job);
  if (record == nullptr) return;
  compute::JobStart start{action.job, action.attempt, {}};
  for (const control::InstanceRecord& instance : launch.instances) {
    start.instances.push_back({instance.id, instance.index, instance.slot, token_of(*record, instance.id),
                               launch.attach_only.contains(instance.id)});
  }
  compute_->launch(std::move(start));
}

void Driver::run(const control::Action& action, const control::Tell& tell) {
  const auto session = sessions_.find(tell.instance);
  const control::JobRecord* record = journal_->machine().find(action.job);
  if (session == sessions_.end() || record == nullptr) return;  // control repeats it when the agent connects
  for (const control::InstanceRecord& instance : record->instances) {
    if (instance.id != tell.instance) continue;
    JobSurroundings surroundings;
    if (tell.order == control::Order::kPrepare) {
      const auto network = networks_.find(action.job);
      if (network == networks_.end()) {
        unprepared_[action.job].push_back(action);
        return;
      }
      surroundings = {options_.region, options_.ca_bundle, keys_.find_by_job(action.job).value_or(store::Key()),
                      network->second};
    }
    session->second->send(encode_order(*record, instance, action, tell, surroundings));
  }
}

void Driver::run(const control::Action&, const control::Discard& discard) { compute_->discard(discard.instance); }

void Driver::run(const control::Action& action, const control::Clean& clean) {
  compute_->clean(action.job, action.attempt, clean.instances);
}

std::string Driver::token_of(const control::JobRecord& record, const std::string& instance) const {
  return to_hex(hmac_sha256(record.secret, instance));
}

AgentSession::Listener Driver::agent_listener() {
  AgentSession::Listener listener;
  listener.on_hello = [this](Session session, AgentHello hello) {
    post([this, session = std::move(session), hello = std::move(hello)] { on_hello(session, hello); });
  };
  listener.on_report = [this](Session session, AgentReport report) {
    post([this, session = std::move(session), report = std::move(report)] {
      const std::string instance = session->instance();
      const auto it = sessions_.find(instance);
      if (it != sessions_.end() && it->second == session) feed(control::Reported{instance, report.report});
    });
  };
  listener.on_progress = [this](const Session& session, AgentProgress progress) {
    board_.set_progress(session->job(), std::move(progress.values));
  };
  listener.on_closed = [this](Session session, std::string reason) {
    post([this, session = std::move(session), reason = std::move(reason)] { on_session_closed(session, reason); });
  };
  return listener;
}

void Driver::on_hello(const Session& session, const AgentHello& hello) {
  const control::JobRecord* record = journal_->machine().find_by_instance(hello.instance);
  if (record == nullptr || !equal_constant_time(token_of(*record, hello.instance), hello.token)) {
    // Not told to clean up: it may belong to a server that had this port before, and will have it again.
    log::warning("server", "an agent calls itself {}, which is no instance of this server's", hello.instance);
    session->close();
    return;
  }
  Session& known = sessions_[hello.instance];
  if (known != nullptr) known->close();
  known = session;
  session->accept(hello.instance, record->job.name);
  log::debug("server", "agent {} of job {} is here", hello.instance, record->job.name);
  feed(control::Connected{hello.instance, hello.report});
}

void Driver::on_session_closed(const Session& session, const std::string& reason) {
  const std::string instance = session->instance();
  const auto it = sessions_.find(instance);
  if (it == sessions_.end() || it->second != session) return;
  sessions_.erase(it);
  log::debug("server", "agent {} has left: {}", instance, reason);
  feed(control::Disconnected{instance});
}

}  // namespace athanor::server
