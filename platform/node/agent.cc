#include "platform/node/agent.h"

#include <fmt/format.h>
#include <signal.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <thread>
#include <utility>

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "platform/node/agent_machine.h"
#include "platform/node/checkpoints.h"
#include "platform/node/contract_files.h"
#include "platform/node/credentials_endpoint.h"
#include "platform/node/extension_socket.h"
#include "platform/node/folder_view.h"
#include "platform/node/job_output.h"
#include "platform/node/messages.h"
#include "platform/node/reasons.h"
#include "platform/node/sandbox.h"
#include "platform/node/server_link.h"
#include "platform/node/transfers.h"

namespace athanor::node {

namespace asio = boost::asio;

namespace {

constexpr std::int64_t kBeatEvery_ms = 200;
constexpr std::chrono::seconds kGoneMax{60};  // from a program's end to that of all its processes

}  // namespace

class Agent::Impl {
 public:
  explicit Impl(AgentOptions options)
      : options_(std::move(options)),
        deadline_(context_),
        beat_timer_(context_),
        ended_(context_),
        gone_limit_(context_),
        link_(context_, {.where = [this] { return options_.server.now(); }, .ca = options_.ca},
              {.on_open = [this] { on_open(); },
               .on_message = [this](std::string message) { on_message(message); },
               .on_broken = [](const std::string& reason) { log::info("node", "the server is away: {}", reason); }}),
        output_(context_, files_, clock_,
                {.folder = options_.home.folder + "/spool", .spool_bytes_max = options_.spool_bytes_max},
                {.send = [this](std::string message) { return send(std::move(message)); },
                 .on_finished = [this] { on_all_done(); },
                 .on_failed = [this](const std::string& why) { fail_later(disk_full(why)); }}),
        work_([this](std::function<void()> what) { asio::post(context_, std::move(what)); }) {}

  ~Impl() { finish_laying_out(); }

  void run() {
    // While the server is dialled. What goes wrong here goes wrong again, and is heard, when the job is prepared.
    laying_out_ = std::thread([this] {
      try {
        make_contract_folders(files_, ml());
        lay_out_folders(options_.home.folder);
      } catch (const Error& error) {
        log::info("node", "{}", error.what());
      }
    });
    link_.start();
    // What runs here throws only when the machine itself is broken; the job then ends with the truth, not in silence.
    while (!released_) {
      try {
        context_.run();
        break;
      } catch (const std::exception& error) {
        log::error("node", "{}", error.what());
        fail_later(reason_for_machine(error.what()));
      }
    }
  }

 private:
  std::string ml() const { return options_.home.folder + "/ml"; }
  std::int64_t now_ms() const { return clock_.monotonic_ns() / 1'000'000; }
  const JobSpec& job() const { return prepare_->job; }

  void apply(const Event& event) {
    const Outcome outcome = node::apply(state_, event, now_ms());
    for (const Effect effect : outcome.effects) carry_out(effect);
    if (outcome.report) send(encode_report(state_.report));
    arm_deadline();
  }

  // Never from within apply().
  void apply_later(Event event) {
    asio::post(context_, [this, event = std::move(event)] { apply(event); });
  }
  void fail_later(std::string reason) { apply_later(WorkFailed{std::move(reason)}); }

  void arm_deadline() {
    const auto at_ms = next_deadline_ms(state_);
    if (!at_ms) {
      deadline_.cancel();
      return;
    }
    deadline_.expires_after(std::chrono::milliseconds(std::max<std::int64_t>(0, *at_ms - now_ms())));
    deadline_.async_wait([this](const auto& failure) {
      if (!failure) apply(TimePassed{});
    });
  }

  void carry_out(Effect effect) {
    switch (effect) {
      case Effect::kPrepare: return guarded([this] { prepare(); });
      case Effect::kAbandon: return work_.cancel();
      case Effect::kStart: return guarded([this] { start(); });
      case Effect::kTerminate:
        if (sandbox_) sandbox_->signal(SIGTERM);
        return;
      case Effect::kKill:
        if (sandbox_) sandbox_->kill();
        return;
      case Effect::kStage: return stage();
      case Effect::kPublish: return publish();
      case Effect::kRelease: return release();
    }
  }

  template <typename Body>
  void guarded(const Body& body) {
    try {
      body();
    } catch (const Error& error) {
      fail_later(reason_for_prepare(error));
    } catch (const std::exception& error) {
      fail_later(reason_for_machine(error.what()));
    }
  }

  bool send(std::string message) {
    if (!link_.is_open()) return false;
    link_.send(std::move(message));
    return true;
  }

  void on_open() {
    send(encode_hello(options_.instance, options_.token, state_.report));
    if (!beat_.empty()) send_beat();
    output_.link_opened();
  }

  void on_message(const std::string& message) {
    FromServer word;
    try {
      word = decode(message);
    } catch (const Error& error) {
      return log::error("node", "{}", error.what());
    }
    if (auto* ordered = std::get_if<Ordered>(&word)) {
      if (ordered->prepare && !prepare_) prepare_ = ordered->prepare;
      staged_keys_ = ordered->command.staged_keys;
      apply(ordered->command);
    } else {
      output_.acknowledged(std::get<LogsAcknowledged>(word).offset);
    }
  }

  void on_extension(const ExtensionMessage& message) {
    if (const auto* beat = std::get_if<Beat>(&message)) {
      beat_ = beat->values;
      if (!beat_waiting_ && now_ms() - beat_sent_ms_ >= kBeatEvery_ms) return send_beat();
      if (beat_waiting_) return;
      beat_waiting_ = true;
      beat_timer_.expires_after(std::chrono::milliseconds(kBeatEvery_ms));
      beat_timer_.async_wait([this](const auto& failure) {
        beat_waiting_ = false;
        if (!failure) send_beat();
      });
    } else if (const auto* complete = std::get_if<CheckpointComplete>(&message)) {
      if (checkpoints_) checkpoints_->complete(complete->path);
    }
  }

  void send_beat() {
    beat_sent_ms_ = now_ms();
    send(encode_progress(state_.report.job, state_.report.attempt, beat_));
  }

  void prepare() {
    ATHANOR_ASSERT(prepare_ != nullptr);
    const std::string endpoint = options_.network ? options_.network->endpoint : job().s3_endpoint;
    program_ = contract_program(*prepare_, endpoint);
    if (program_.arguments.front() == kEngineProgram && !files_.stat(options_.home.programs + "/athanor-llm")) {
      throw Error(ErrorKind::kInvalid,
                  "ClientError: The image athanor/llm is not installed here (athanor-llm is missing).");
    }
    metrics_ = std::make_unique<MetricScanner>(job().metrics);
    finish_laying_out();
    write_contract_files(files_, ml(), *prepare_);
    storage_ = std::make_unique<JobStorage>(job(), options_.server, options_.network ? options_.network->endpoint : "",
                                            options_.home.folder, clock_, files_);
    if (!job().checkpoint_uri.empty()) {
      Checkpoints::Place place{ml(), checkpoint_path(job()).substr(std::string_view("/opt/ml/").size()), "/opt/ml"};
      checkpoints_ =
          std::make_unique<Checkpoints>(storage_->client(), job().checkpoint_uri, std::move(place), files_, clock_);
    }
    extension_ = std::make_unique<ExtensionSocket>(
        context_, ml() + "/athanor/agent.sock", [this](const ExtensionMessage& message) { on_extension(message); },
        [this](const std::string& why) { output_.say("[athanor] ignored: " + why); });
    prepared_parts_ = 0;
    download();
    sandbox_ = Sandbox::prepare(sandbox_spec());
    for (const std::string& note : sandbox_->notes()) log::info("node", "{}", note);
    credentials_ = std::make_unique<CredentialsEndpoint>(context_, sandbox_->take_credentials_listener(),
                                                         job().credentials, clock_);
    one_part_prepared();
  }

  void finish_laying_out() {
    if (laying_out_.joinable()) laying_out_.join();
  }

  SandboxSpec sandbox_spec() const {
    SandboxSpec spec;
    spec.root.folder = options_.home.folder;
    spec.root.programs = options_.home.programs;
    spec.root.host = prepare_->instance.host();
    spec.root.hidden = options_.home.hidden;
    for (std::uint32_t i = 0; i < prepare_->instance.count; ++i) {
      const auto& addresses = options_.network ? options_.network->addresses : prepare_->instance.addresses;
      spec.root.hosts.emplace_back(i < addresses.size() ? addresses[i] : "127.0.0.1", Instance::host_name(i));
    }
    spec.cpus = options_.cpus.empty() ? prepare_->instance.cpus : options_.cpus;
    if (options_.network) {
      spec.user_namespace = options_.network->user_namespace.get();
      const auto& spaces = options_.network->network_namespaces;
      if (prepare_->instance.index >= spaces.size()) {
        throw Error(ErrorKind::kInvalid, "joining the job's network: it was made for {} instances", spaces.size());
      }
      spec.network_namespace = spaces[prepare_->instance.index].get();
    }
    spec.credentials_port = kCredentialsPort;
    return spec;
  }

  void download() {
    if (job().channels.empty() && !checkpoints_) return one_part_prepared();
    apply_later(PrepareProgress{"downloading"});
    work_.start(
        [this](const std::function<bool()>& cancelled) {
          download_channels(storage_->client(), *prepare_, ml() + "/input/data", files_, cancelled);
          if (checkpoints_) restore_checkpoints(*checkpoints_, cancelled);
        },
        [this](const Error* failure) {
          if (failure != nullptr) return apply(WorkFailed{reason_for_download(*failure)});
          one_part_prepared();
        });
  }

  // The sandbox and the data; in any order.
  void one_part_prepared() {
    if (++prepared_parts_ == 2) apply_later(PrepareDone{});
  }

  void start() {
    const std::string stream = fmt::format("{}/{}-{}", job().name, prepare_->instance.host(), clock_.wall_ms() / 1000);
    if (checkpoints_) checkpoints_->start();
    try {
      sandbox_->run(program_);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kNotFound && error.kind() != ErrorKind::kDenied) throw;
      apply_later(
          ProgramMissing{fmt::format("ClientError: CannotStartContainerError. Please check "
                                     "AlgorithmSpecification.ContainerEntrypoint: {}.",
                                     error.what())});
      return;
    }
    output_.start(sandbox_->take_output(), stream, std::move(metrics_));
    ended_.assign(::dup(sandbox_->ended_descriptor()));
    ended_.async_wait(asio::posix::stream_descriptor::wait_read, [this](const auto& failure) {
      if (!failure) on_program_ended();
    });
    apply_later(ProgramStarted{});
  }

  // The program has ended; then what it left behind ends too, its last words are read, its last checkpoints uploaded, and
  // only then it has exited.
  void on_program_ended() {
    boost::system::error_code ignored;
    ended_.close(ignored);
    sandbox_->kill();
    ended_.assign(::dup(sandbox_->gone_descriptor()));
    ended_.async_wait(asio::posix::stream_descriptor::wait_read, [this](const auto& failure) {
      if (!failure) on_sandbox_gone();
    });
    gone_limit_.expires_after(kGoneMax);
    gone_limit_.async_wait([this](const auto& cancelled) {
      if (!cancelled) apply(WorkFailed{reason_for_machine("the job's processes were killed and do not end")});
    });
  }

  void on_sandbox_gone() {
    gone_limit_.cancel();
    boost::system::error_code ignored;
    ended_.close(ignored);
    exit_code_ = sandbox_->wait();
    log::info("node", "the program ended with {}", exit_code_);
    if (!checkpoints_) return output_.finish();
    checkpoints_->finish([this](std::optional<std::string> failure) {
      asio::post(context_, [this, failure = std::move(failure)] {
        if (failure) apply(WorkFailed{reason_for_upload(*failure)});
        output_.finish();
      });
    });
  }

  void on_all_done() {
    if (state_.report.phase >= Phase::kExited) return;
    std::string failure;
    try {
      failure = first_characters(FolderView(ml()).read("output/failure", 8192).value_or(""), 1024);
    } catch (const Error& error) {
      log::warning("node", "{}", error.what());
    }
    apply_later(ProgramExited{exit_code_, std::move(failure), output_.metrics()});
  }

  Artifacts artifacts(const std::function<bool()>& cancelled) {
    return Artifacts(storage_->client(), job(), files_,
                     {.ml = ml(),
                      .scratch = options_.home.folder + "/scratch",
                      .cancelled = cancelled,
                      .on_note = [this](std::string note) {
                        asio::post(context_, [this, note = std::move(note)] { output_.say("[athanor] " + note); });
                      }});
  }

  void stage() {
    auto key = std::make_shared<std::string>();
    work_.start([this, key](const std::function<bool()>&
                                cancelled) { *key = artifacts(cancelled).stage(prepare_->instance.index); },
                [this, key](const Error* failure) {
                  if (failure != nullptr) return apply(WorkFailed{reason_for_upload(*failure)});
                  apply(StageDone{*key});
                });
  }

  void publish() {
    work_.start([this,
                 keys = staged_keys_](const std::function<bool()>& cancelled) { artifacts(cancelled).publish(keys); },
                [this](const Error* failure) {
                  if (failure != nullptr) return apply(WorkFailed{reason_for_upload(*failure)});
                  apply(PublishDone{});
                });
  }

  void release() {
    work_.cancel();
    if (sandbox_) sandbox_->kill();
    link_.finish([this] {
      credentials_.reset();
      extension_.reset();
      sandbox_.reset();
      finish_laying_out();
      clear_out(options_.home.folder);
      released_ = true;
      context_.stop();
      // Threads that wait for the store need not be waited for: nothing of theirs is of use any more.
      log::info("node", "released");
      ::_exit(0);
    });
  }

  AgentOptions options_;
  SystemFiles files_;
  SystemClock clock_;
  asio::io_context context_{1};
  asio::steady_timer deadline_;
  asio::steady_timer beat_timer_;
  asio::posix::stream_descriptor ended_;
  asio::steady_timer gone_limit_;
  ServerLink link_;

  AgentState state_;
  bool released_ = false;

  std::shared_ptr<const Prepare> prepare_;
  std::vector<std::string> staged_keys_;
  std::unique_ptr<MetricScanner> metrics_;  // until the output has it
  Program program_;
  std::thread laying_out_;
  int prepared_parts_ = 0;
  int exit_code_ = 0;

  std::map<std::string, double> beat_;  // the latest
  std::int64_t beat_sent_ms_ = -kBeatEvery_ms;
  bool beat_waiting_ = false;

  std::unique_ptr<JobStorage> storage_;
  JobOutput output_;
  std::unique_ptr<Sandbox> sandbox_;
  std::unique_ptr<CredentialsEndpoint> credentials_;
  std::unique_ptr<ExtensionSocket> extension_;
  std::unique_ptr<Checkpoints> checkpoints_;
  Worker work_;
};

Agent::Agent(AgentOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Agent::~Agent() = default;
void Agent::run() { impl_->run(); }

}  // namespace athanor::node
