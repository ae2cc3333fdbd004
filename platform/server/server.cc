#include "platform/server/server.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <future>
#include <thread>

#include "common/clock.h"
#include "common/error.h"
#include "common/files.h"
#include "common/log.h"
#include "common/random.h"
#include "platform/compute/local.h"
#include "platform/server/control_plane.h"
#include "platform/server/driver.h"
#include "platform/server/endpoint_file.h"
#include "platform/server/http_server.h"
#include "platform/server/key_store.h"
#include "platform/server/router.h"
#include "platform/storage/log_store.h"
#include "platform/storage/object_store.h"
#include "platform/store/folder_lock.h"

namespace athanor::server {
namespace {

namespace asio = boost::asio;

constexpr int kSessionThreads = 4;
constexpr int kReaderThreads = 2;
constexpr std::int64_t kStopGrace_ms = 2000;

std::string absolute(const std::string& path) {
  if (path.starts_with('/')) return path;
  char folder[4096];
  if (getcwd(folder, sizeof(folder)) == nullptr) throw system_error(errno, "finding the present folder");
  return fmt::format("{}/{}", folder, path);
}

std::string beside_this_program(const std::string& name) {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
  if (length <= 0) throw system_error(errno, "finding this program's folder");
  const std::string self(path, static_cast<std::size_t>(length));
  return self.substr(0, self.rfind('/') + 1) + name;
}

// The keys of KeyStore as the fronts want them.
class Keys final : public api::AccessKeys {
 public:
  explicit Keys(const KeyStore& store) : store_(store) {}
  std::optional<api::AccessKey> find(std::string_view access_key_id) const override {
    auto key = store_.find(access_key_id);
    if (!key) return std::nullopt;
    return api::AccessKey{std::move(key->secret_access_key), std::move(key->session_token), std::move(key->principal),
                          key->expires_ms};
  }

 private:
  const KeyStore& store_;
};

// Waits for a call of the store's; throws what it failed with.
void save_now(store::Store& store, store::Changes changes) {
  std::promise<void> stored;
  store.save(std::move(changes),
             [&stored](std::exception_ptr error) { error ? stored.set_exception(error) : stored.set_value(); });
  stored.get_future().get();
}

// True when it was made just now.
bool make_bucket(storage::ObjectStore& objects, const std::string& name) {
  if (objects.find_bucket(name)) return false;
  std::promise<void> made;
  objects.create_bucket(name, [&made](std::exception_ptr error, storage::ObjectStore::Nothing) {
    error ? made.set_exception(error) : made.set_value();
  });
  made.get_future().get();
  return true;
}

// Returns when all that was asked of it before is done.
void wait_for(storage::ObjectStore& objects) {
  std::promise<void> done;
  // Refused in its turn: no bucket has that name.
  objects.delete_bucket("", [&done](std::exception_ptr, storage::ObjectStore::Nothing) { done.set_value(); });
  done.get_future().get();
}

// Region and account belong to the data: they are in every ARN. Throws kConflict when others are asked for.
void adopt(store::Contents& contents, store::Store& store, Options& options) {
  store::Changes changes;
  const auto settle = [&](const char* name, std::string& value, const char* fallback) {
    const auto [it, is_new] = contents.settings.try_emplace(name, value.empty() ? fallback : value);
    if (is_new) changes.settings[name] = it->second;
    if (!value.empty() && it->second != value) {
      throw Error(ErrorKind::kConflict,
                  "The data folder {} is of the {} {}, which is in all that it holds, and not of {}: start it "
                  "without --{}, or start another with --data-dir.",
                  options.data_dir, name, it->second, value, name);
    }
    value = it->second;
  };
  settle("region", options.region, "us-east-1");
  settle("account", options.account, "000000000000");
  if (!changes.settings.empty()) save_now(store, std::move(changes));
}

// The key of people; made at the first start. True then.
bool ensure_key(KeyStore& keys, store::Store& store, Random& random, const Options& options) {
  if (keys.find_of_people()) return false;
  store::Changes changes;
  changes.keys = {make_key(random, fmt::format("arn:aws:iam::{}:user/athanor", options.account), 0, 0)};
  keys.add(changes.keys[0]);
  save_now(store, std::move(changes));
  return true;
}

// The signals that end a server, taken one at a time.
class Signals {
 public:
  Signals() {
    const auto add = [this](int signal) { set_.add(signal); };
    add(SIGINT);
    add(SIGTERM);
    add(SIGUSR1);
  }
  // Waits; 0 after stop().
  int next() {
    int taken = 0;
    set_.async_wait([&taken](const boost::system::error_code& error, int signal) {
      if (!error) taken = signal;
    });
    context_.run();
    const bool stopped = context_.stopped() && taken == 0;
    if (!stopped) context_.restart();
    return taken;
  }
  // Any thread.
  void stop() { context_.stop(); }

 private:
  asio::io_context context_;
  asio::signal_set set_{context_};
};

// The one server of a process. Members are destroyed from the last to the first: whoever uses another stands below it.
// Requests and links live in http_, so whoever may hold one that waits (control) stands below http_, and what they use
// stands above it.
class Platform {
 public:
  explicit Platform(Options options)
      : options_(std::move(options)),
        store_(store::Store::open(options_.data_dir, files_)),
        logs_(storage::open_log_store(path("logs"), files_, clock_)),
        objects_(storage::ObjectStore::open(path("objects"), files_, clock_, random_)),
        sessions_(kSessionThreads),
        readers_(kReaderThreads) {
    store::Contents contents = store_->load();
    adopt(contents, *store_, options_);
    for (const store::Key& key : contents.keys) keys_.add(key);
    first_start_ = ensure_key(keys_, *store_, random_, options_);
    endpoint_ = make_endpoint();
    make_bucket(*objects_, endpoint_.bucket);
    tls_ = std::make_unique<TlsIdentity>(files_, clock_, path("tls"), options_.region,
                                         std::vector<std::string>{options_.address});
    endpoint_.ca_path = tls_->ca_path();
    authenticator_ = std::make_unique<api::Authenticator>(api_keys_, clock_, options_.region);
    api::S3::Options s3_options;
    s3_options.region = options_.region;
    s3_options.account = options_.account;
    s3_ = std::make_unique<api::S3>(*objects_, s3_options);
    logs_api_ = std::make_unique<api::LogsApi>(*logs_, options_.region, options_.account);

    endpoint_.port = listen();
    begin(std::move(contents));
  }

  ~Platform() {
    http_->stop(kStopGrace_ms);  // no request comes and none goes on; one that waited for too long is left waiting
    sessions_.join();
    control_.stop();
    control_thread_.join();
    // Whoever might wake what is left does so now, while http_ is there to be told.
    s3_->finish();
    readers_.join();
    wait_for(*objects_);
    try {
      save_now(*store_, {});  // behind all that is queued: nothing of the store's will call the driver any more
    } catch (const std::exception& error) {
      log::warning("server", "closing the store: {}", error.what());
    }
  }

  Ready ready() const { return {endpoint_, first_start_, driver_->slots(), driver_->live_jobs()}; }

  void write_endpoint() { server::write_endpoint(files_, options_.data_dir, endpoint_); }

  // Blocks until a signal. True when all jobs were ended.
  bool wait_for_end(Signals& signals, bool end_all) {
    bool ending_all = false;
    const auto begin_end_all = [&] {
      if (ending_all) return;
      ending_all = true;
      driver_->end_all(kDownGrace_s, [&signals] { signals.stop(); });
    };
    if (end_all) begin_end_all();
    while (signals.next() == SIGUSR1) begin_end_all();
    return ending_all && driver_->live_jobs() == 0;
  }

  std::size_t live_jobs() const { return driver_->live_jobs(); }

 private:
  std::string path(const std::string& name) const { return options_.data_dir + "/" + name; }

  Endpoint make_endpoint() const {
    const store::Key key = *keys_.find_of_people();
    Endpoint endpoint;
    endpoint.address = options_.address;
    endpoint.pid = getpid();
    endpoint.region = options_.region;
    endpoint.account = options_.account;
    endpoint.access_key_id = key.access_key_id;
    endpoint.secret_access_key = key.secret_access_key;
    endpoint.role_arn = fmt::format("arn:aws:iam::{}:role/athanor", options_.account);
    endpoint.bucket = fmt::format("sagemaker-{}-{}", options_.region, options_.account);
    return endpoint;
  }

  // A folder's server comes back where its clients know it, if it can.
  std::uint16_t listen() {
    const auto before = options_.port == 0 ? read_endpoint(options_.data_dir) : std::nullopt;
    if (before && before->address == options_.address) {
      try {
        return start_http(before->port);
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::kConflict) throw;
        log::warning("server", "port {} that was this folder's is taken now; another is chosen", before->port);
      }
    }
    return start_http(options_.port);
  }

  std::uint16_t start_http(std::uint16_t port) {
    HttpOptions http_options;
    http_options.address = options_.address;
    http_options.port = port;
    http_options.threads = options_.io_threads;
    http_ = std::make_unique<HttpServer>(
        http_options, [this](wire::Request request) { return handle(std::move(request)); }, tls_.get());
    http_->on_link("/agent", [this](std::shared_ptr<Link> link, wire::Request) { on_agent(std::move(link)); });
    return http_->start();
  }

  // The port is open a moment before there is anybody to answer, because agents must be told which it is.
  void begin(store::Contents contents) {
    const bool anywhere = options_.address == "0.0.0.0" || options_.address == "::";
    const std::string host = anywhere                                          ? "127.0.0.1"
                             : options_.address.find(':') == std::string::npos ? options_.address
                                                                               : "[" + options_.address + "]";
    compute::LocalOptions local;
    local.folder = path("instances");
    local.agent_program =
        options_.agent_program.empty() ? beside_this_program("athanor-agent") : options_.agent_program;
    local.server = fmt::format("http://{}:{}", host, endpoint_.port);
    local.server_file = path("server");
    local.instances = options_.instances;
    DriverOptions driver_options;
    driver_options.region = options_.region;
    driver_options.account = options_.account;
    driver_options.ca_bundle = tls_->ca_pem();
    driver_ = std::make_unique<Driver>(control_, clock_, random_, *store_, board_, keys_, driver_options,
                                       [&local](compute::Events events) {
                                         return compute::make_local(local, std::move(events));
                                       });
    jobs_ = std::make_unique<ControlPlane>(*driver_, board_, options_.region, options_.account);
    const auto has_objects = [this](const storage::S3Uri& prefix) {
      storage::ListQuery first;
      first.prefix = prefix.key;
      first.count_max = 1;
      return objects_->find_bucket(prefix.bucket) && !objects_->list(prefix.bucket, first).objects.empty();
    };
    sagemaker_ =
        std::make_unique<api::SageMakerApi>(*jobs_, readers_, api::SageMakerApi::Inputs{options_.region, has_objects});
    router_ = std::make_unique<Router>(*authenticator_, *sagemaker_, *logs_api_, *s3_, readers_, options_.account);
    driver_->begin(std::move(contents));
    control_thread_ = std::thread([this] { run_control(); });
    is_open_.store(true, std::memory_order_release);
  }

  void run_control() {
    const auto work = asio::make_work_guard(control_);
    control_.run();
  }

  wire::Awaitable<wire::Response> handle(wire::Request request) {
    if (is_open_.load(std::memory_order_acquire)) return router_->handle(std::move(request));
    return not_open_yet();
  }

  static wire::Awaitable<wire::Response> not_open_yet() {
    wire::Response response;
    response.status = 503;
    response.headers.add("Retry-After", "1");
    co_return response;
  }

  void on_agent(std::shared_ptr<Link> link) {
    if (!is_open_.load(std::memory_order_acquire)) return link->close();  // it will come again
    std::make_shared<AgentSession>(std::move(link), sessions_, *logs_, clock_, driver_->agent_listener())->begin();
  }

  Options options_;
  SystemClock clock_;
  SystemRandom random_;
  SystemFiles files_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<storage::Logs> logs_;
  std::unique_ptr<storage::ObjectStore> objects_;
  KeyStore keys_;
  Keys api_keys_{keys_};
  JobBoard board_;
  bool first_start_ = false;
  Endpoint endpoint_;
  std::unique_ptr<TlsIdentity> tls_;
  std::unique_ptr<api::Authenticator> authenticator_;
  std::unique_ptr<api::S3> s3_;
  std::unique_ptr<api::LogsApi> logs_api_;
  asio::thread_pool sessions_;
  asio::thread_pool readers_;          // of logs and lists, for the requests that ask for them
  std::atomic<bool> is_open_ = false;  // all below is there
  std::unique_ptr<HttpServer> http_;
  asio::io_context control_{1};
  std::unique_ptr<Driver> driver_;
  std::unique_ptr<ControlPlane> jobs_;
  std::unique_ptr<api::SageMakerApi> sagemaker_;
  std::unique_ptr<Router> router_;
  std::thread control_thread_;
};

}  // namespace

Ended run(const Options& given, const std::function<void(const Ready&)>& on_ready, bool end_all) {
  Options options = given;
  options.data_dir = absolute(options.data_dir);
  signal(SIGPIPE, SIG_IGN);
  Signals signals;  // blocked from here on, so that one that comes during the start is not lost
  Platform platform(std::move(options));
  platform.write_endpoint();
  if (on_ready) on_ready(platform.ready());
  Ended ended;
  ended.ended_all = platform.wait_for_end(signals, end_all);
  ended.live_jobs = platform.live_jobs();
  return ended;
}

std::int64_t running_server(const std::string& data_dir) { return store::holder_of(data_dir); }

namespace {

// Whether a job, or what an agent or a network left behind, waits for a server that ends it.
bool is_anything_left(const std::string& data_dir) {
  SystemFiles files;
  const std::string instances = data_dir + "/instances";
  if (files.stat(instances) && !files.list(instances).empty()) return true;
  const store::Contents contents = store::Store::open(data_dir, files)->load();
  return !std::all_of(contents.jobs.begin(), contents.jobs.end(), control::is_over);
}

}  // namespace

Down down(const Options& given, const std::function<void(std::size_t live_jobs)>& on_wait) {
  Options options = given;
  const std::int64_t pid = running_server(options.data_dir);
  if (pid == 0) {
    const auto endpoint = read_endpoint(options.data_dir);
    if (!endpoint || !is_anything_left(options.data_dir)) return Down::kNothing;
    options.address = "127.0.0.1";
    options.port = 0;
    options.region = endpoint->region;
    options.account = endpoint->account;
    const Ended ended = run(
        options,
        [&](const Ready& ready) {
          if (on_wait) on_wait(ready.live_jobs);
        },
        true);
    return ended.ended_all ? Down::kAll : Down::kSomeLeft;
  }
  if (kill(static_cast<pid_t>(pid), SIGUSR1) != 0) {
    throw system_error(errno, fmt::format("telling the server (pid {}) to end", pid));
  }
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(kDownTimeout_s);
  while (running_server(options.data_dir) == pid) {
    if (std::chrono::steady_clock::now() > give_up) {
      throw Error(ErrorKind::kUnavailable, "ending the server (pid {}): it has not ended within {} s", pid,
                  kDownTimeout_s);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  // Another server, begun meanwhile, has taken up what was left.
  const bool left = running_server(options.data_dir) != 0 || is_anything_left(options.data_dir);
  return left ? Down::kSomeLeft : Down::kAll;
}

}  // namespace athanor::server
