#include "platform/compute/local.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>

#include "common/error.h"
#include "common/files.h"
#include "common/json.h"
#include "common/log.h"
#include "platform/compute/cleaner.h"
#include "platform/compute/process.h"
#include "platform/compute/slots.h"

namespace athanor::compute {
namespace {

constexpr int kNetworkStartMax_ms = 20'000;
constexpr int kCloseMax_ms = 3000;
constexpr std::size_t kLogTailBytes = 2000;

std::string network_name(std::int64_t job, std::uint32_t attempt) { return fmt::format("n{}-{}", job, attempt); }

// Of an agent: nothing that is the server's business, and no credentials of whoever started it.
std::vector<std::string> environment() {
  std::vector<std::string> result;
  for (const char* name : {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "ASAN_OPTIONS",
                           "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"}) {
    if (const char* value = std::getenv(name)) result.push_back(fmt::format("{}={}", name, value));
  }
  return result;
}

// Of a line of an agent's log, "2026-01-01T00:00:00.000 info    athanor-agent [node] …", whether it may tell why it ended.
bool may_tell_why(std::string_view line) {
  const std::size_t space = line.find(' ');
  const std::string_view level = space == std::string_view::npos ? line : line.substr(space + 1);
  return !line.empty() && !level.starts_with("info ") && !level.starts_with("debug ");
}

class Local final : public Compute {
 public:
  Local(LocalOptions options, Events events) : options_(std::move(options)), events_(std::move(events)) {
    files_.make_folders(options_.folder, 0700);
    tell_server();
    slots_ = cut(usable_cpus(), machine_memory_bytes(), options_.instances);
    epoll_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
    wake_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    inotify_ = Descriptor(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!epoll_ || !wake_ || !inotify_) throw system_error(errno, "preparing to watch agents");
    add(wake_.get(), kWakeTag);
    add(inotify_.get(), kInotifyTag);
    thread_ = std::thread([this] { run(); });
  }

  ~Local() override {
    {
      const std::lock_guard hold(mutex_);
      closing_ = true;
    }
    wake();
    thread_.join();
  }

  std::vector<control::Slot> slots() const override { return slots_; }
  void launch(JobStart start) override {
    post([this, start = std::move(start)] { do_launch(start); });
  }
  void discard(std::string instance) override {
    post([this, instance = std::move(instance)] { do_discard(instance); });
  }
  void clean(std::int64_t job, std::uint32_t attempt, std::vector<std::string> instances) override {
    post([this, job, attempt, instances = std::move(instances)] { do_clean(job, attempt, instances); });
  }
  void keep_only(std::set<std::string> instances, std::set<std::int64_t> jobs) override {
    post([this, instances = std::move(instances), jobs = std::move(jobs)] { do_keep_only(instances, jobs); });
  }

 private:
  static constexpr std::uint64_t kWakeTag = 0;
  static constexpr std::uint64_t kInotifyTag = 1;

  // A process that is watched: an agent, or the holder of a network.
  struct Watched {
    std::string name;  // folder below options_.folder
    Process process;
    bool is_network = false;
    bool ending = false;  // of a network: we asked for it
    std::int64_t job = 0;
    std::uint32_t attempt = 0;
  };
  struct Expected {  // a network that is not ready
    std::int64_t job = 0;
    std::uint32_t attempt = 0;
    int inotify_watch = -1;
    std::chrono::steady_clock::time_point deadline;
  };

  // In place: who has the file open need not be allowed to open it again, and a full disk has room for it. Not synced: what
  // reads it does not outlive the machine.
  void tell_server() {
    const std::string line = options_.server + "\n";
    const auto file = files_.open(options_.server_file, Files::Open::kCreate, 0600);
    file->write_at(0, line);
    file->truncate(line.size());
  }

  std::string path_of(const std::string& name) const { return options_.folder + "/" + name; }

  void post(std::function<void()> work) {
    {
      const std::lock_guard hold(mutex_);
      queue_.push_back(std::move(work));
    }
    wake();
  }

  void wake() {
    const std::uint64_t one = 1;
    if (write(wake_.get(), &one, sizeof(one)) < 0) return;  // full: it is awake
  }

  void add(int descriptor, std::uint64_t tag) {
    epoll_event event = {};
    event.events = EPOLLIN;
    event.data.u64 = tag;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor, &event) != 0) throw system_error(errno, "watching agents");
  }

  void run() {
    for (;;) {
      epoll_event events[32];
      const int count = epoll_wait(epoll_.get(), events, 32, close_by_ ? 50 : expected_.empty() ? -1 : 1000);
      for (int i = 0; i < count; ++i) {
        const std::uint64_t tag = events[i].data.u64;
        if (tag == kWakeTag) {
          std::uint64_t ignored = 0;
          while (read(wake_.get(), &ignored, sizeof(ignored)) > 0) {
          }
        } else if (tag == kInotifyTag) {
          char ignored[4096];
          while (read(inotify_.get(), ignored, sizeof(ignored)) > 0) {
          }
        } else {
          ended(tag);
        }
      }
      check_networks();
      std::deque<std::function<void()>> work;
      bool closing = false;
      {
        const std::lock_guard hold(mutex_);
        closing = closing_;
        work.swap(queue_);
      }
      for (const auto& piece : work) carry_out(piece);
      if (closing && is_quiet()) return;
    }
  }

  // What cannot be done now (no descriptor is free) is asked for again by control, or done by the next server's keep_only.
  static void carry_out(const std::function<void()>& piece) {
    try {
      piece();
    } catch (const std::exception& error) {
      log::error("compute", "{}", error.what());
    }
  }

  // Nothing is being ended that this server should see the end of; waits for it a little.
  bool is_quiet() {
    const auto is_ending = [](const auto& entry) { return entry.second.ending; };
    const auto now = std::chrono::steady_clock::now();
    if (!close_by_) close_by_ = now + std::chrono::milliseconds(kCloseMax_ms);
    return now > *close_by_ || std::none_of(watched_.begin(), watched_.end(), is_ending);
  }

  void do_launch(const JobStart& start) {
    try {
      if (!start_network(start)) return;
      for (const InstanceStart& instance : start.instances) start_agent(start, instance);
    } catch (const std::exception& error) {
      events_.on_failed(start.job, start.attempt, fmt::format("InternalServerError: {}", error.what()));
    }
  }

  // False when the job had a network and has lost it; its agents are watched all the same.
  bool start_network(const JobStart& start) {
    const std::string name = network_name(start.job, start.attempt);
    if (tags_.contains(name)) return true;
    Found found = find_process(path_of(name));
    if (!found.process) {
      const bool may_start = std::none_of(start.instances.begin(), start.instances.end(),
                                          [](const InstanceStart& instance) { return instance.attach_only; });
      if (!may_start || found.was_started) {
        for (InstanceStart instance : start.instances) {
          instance.attach_only = true;
          start_agent(start, instance);
        }
        events_.on_failed(start.job, start.attempt,
                          "InternalServerError: the process that held the job's network is gone");
        return false;
      }
      files_.make_folders(path_of(name), 0700);
      found.process = start_process(
          {{options_.agent_program, "network", "--state", path_of(name), "--instances",
            std::to_string(start.instances.size()), "--server", options_.server, "--server-file", options_.server_file},
           environment(),
           path_of(name) + "/output",
           path_of(name)});
    }
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kNetworkStartMax_ms);
    Expected expected{start.job, start.attempt, -1, deadline};
    expected.inotify_watch = inotify_add_watch(inotify_.get(), path_of(name).c_str(), IN_MOVED_TO | IN_CLOSE_WRITE);
    expected_[name] = expected;
    watch({name, std::move(*found.process), true, false, start.job, start.attempt});
    return true;
  }

  void start_agent(const JobStart& start, const InstanceStart& instance) {
    if (tags_.contains(instance.id)) return;
    const std::string folder = path_of(instance.id);
    Found found = find_process(folder);
    if (!found.process) {
      if (instance.attach_only || found.was_started) {
        events_.on_gone(instance.id, "its process is gone");
        return;
      }
      files_.make_folders(folder, 0700);
      files_.open(folder + "/token", Files::Open::kTruncate, 0600)->append(instance.token);
      std::string cpus;
      for (const auto cpu : instance.slot.cpus) cpus += fmt::format("{}{}", cpus.empty() ? "" : ",", cpu);
      Command command{{options_.agent_program, "run", "--instance", instance.id, "--token-file", folder + "/token",
                       "--server", options_.server, "--server-file", options_.server_file, "--state", folder,
                       "--network", path_of(network_name(start.job, start.attempt)), "--cpus", cpus},
                      environment(),
                      folder + "/agent.log",
                      folder};
      found.process = start_process(command);
    }
    watch({instance.id, std::move(*found.process), false, false, start.job, start.attempt});
  }

  void watch(Watched watched) {
    const std::uint64_t tag = ++last_tag_;
    add(watched.process.handle.get(), tag);
    tags_[watched.name] = tag;
    watched_.emplace(tag, std::move(watched));
  }

  void check_networks() {
    for (auto it = expected_.begin(); it != expected_.end();) {
      const auto& [name, expected] = *it;
      const std::string ready = path_of(name) + "/ready.json";
      try {
        if (files_.stat(ready)) {
          events_.on_network(expected.job, expected.attempt, read_network(name, ready));
        } else if (std::chrono::steady_clock::now() > expected.deadline) {
          throw Error(ErrorKind::kUnavailable, "preparing the job's network: it was not ready within {} s{}",
                      kNetworkStartMax_ms / 1000, last_words(path_of(name) + "/output"));
        } else {
          ++it;
          continue;
        }
      } catch (const std::exception& error) {
        events_.on_failed(expected.job, expected.attempt, fmt::format("InternalServerError: {}", error.what()));
      }
      forget_expected(it++);
    }
  }

  void forget_expected(std::map<std::string, Expected>::iterator it) {
    if (it->second.inotify_watch >= 0) inotify_rm_watch(inotify_.get(), it->second.inotify_watch);
    expected_.erase(it);
  }

  Network read_network(const std::string& name, const std::string& ready) {
    const json::value value = json::parse(files_.read_all(ready), ready);
    const auto& object = value.as_object();
    Network network;
    network.folder = path_of(name);
    network.endpoint = json::find_string(object, "endpoint").value_or(options_.server);
    if (const auto* instances = json::find_array(object, "instances")) {
      for (const auto& instance : *instances) {
        network.addresses.push_back(json::find_string(instance.as_object(), "address").value_or(""));
      }
    }
    return network;
  }

  void ended(std::uint64_t tag) {
    const auto it = watched_.find(tag);
    if (it == watched_.end()) return;
    Watched watched = std::move(it->second);
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, watched.process.handle.get(), nullptr);
    watched_.erase(it);
    tags_.erase(watched.name);
    const End end = end_of(watched.process);
    const std::string said = path_of(watched.name) + (watched.is_network ? "/output" : "/agent.log");
    const std::string why = end.how + (end.was_by_force ? "" : last_words(said));
    if (!watched.is_network) {
      events_.on_gone(watched.name, why);
      return;
    }
    if (const auto expected = expected_.find(watched.name); expected != expected_.end()) forget_expected(expected);
    if (watched.ending) {
      cleaner_.remove(path_of(watched.name));
    } else {
      events_.on_failed(watched.job, watched.attempt,
                        fmt::format("InternalServerError: the job's network was lost: {}", why));
    }
  }

  void do_discard(const std::string& instance) {
    if (const auto tag = tags_.find(instance); tag != tags_.end()) {
      send_signal(watched_.at(tag->second).process, SIGKILL);
      return;  // ended() tells
    }
    if (Found found = find_process(path_of(instance)); found.process) {
      send_signal(*found.process, SIGKILL);
      watch({instance, std::move(*found.process), false, true, 0, 0});
      return;
    }
    events_.on_gone(instance, "it was not running");
  }

  void do_clean(std::int64_t job, std::uint32_t attempt, const std::vector<std::string>& instances) {
    for (const std::string& instance : instances) cleaner_.remove(path_of(instance));
    end_network(network_name(job, attempt), job, attempt);
  }

  void end_network(const std::string& name, std::int64_t job, std::uint32_t attempt) {
    if (!tags_.contains(name)) {
      Found found = find_process(path_of(name));
      if (!found.process) return cleaner_.remove(path_of(name));
      watch({name, std::move(*found.process), true, true, job, attempt});
    }
    Watched& watched = watched_.at(tags_.at(name));
    watched.ending = true;
    send_signal(watched.process, SIGTERM);
  }

  void do_keep_only(const std::set<std::string>& instances, const std::set<std::int64_t>& jobs) {
    for (const std::string& name : files_.list(options_.folder)) {
      if (name.size() < 2 || (name[0] != 'i' && name[0] != 'n') || instances.contains(name)) continue;
      const std::int64_t job = std::strtoll(name.c_str() + 1, nullptr, 10);
      if (name[0] == 'n' && jobs.contains(job)) continue;
      carry_out([&] { name[0] == 'n' ? end_network(name, job, 0) : end_agent(name); });
    }
  }

  void end_agent(const std::string& name) {
    if (const Found found = find_process(path_of(name)); found.process) send_signal(*found.process, SIGKILL);
    cleaner_.remove(path_of(name));
  }

  // The last trouble that the process wrote of, for the reason of its loss: a line of its log above "info", or one that is
  // none of its log (of the runtime, of a sanitizer).
  std::string last_words(const std::string& path) {
    try {
      const auto info = files_.stat(path);
      if (!info || info->size == 0) return "";
      const auto file = files_.open(path, Files::Open::kRead, 0);
      const std::uint64_t from = info->size > kLogTailBytes ? info->size - kLogTailBytes : 0;
      std::string text(kLogTailBytes, '\0');
      text.resize(file->read_at(from, text));
      std::string_view rest = text;
      if (from > 0) rest.remove_prefix(std::min(rest.find('\n'), rest.size()));  // half a line
      while (!rest.empty()) {
        const std::size_t before = rest.rfind('\n');
        const std::string_view line = rest.substr(before == std::string_view::npos ? 0 : before + 1);
        if (may_tell_why(line)) return fmt::format("; the last it said: {}", line);
        rest = before == std::string_view::npos ? std::string_view() : rest.substr(0, before);
      }
      return "";
    } catch (const Error&) {
      return "";
    }
  }

  const LocalOptions options_;
  const Events events_;
  std::vector<control::Slot> slots_;
  SystemFiles files_;
  Cleaner cleaner_;
  Descriptor epoll_, wake_, inotify_;

  // Of our thread alone.
  std::map<std::uint64_t, Watched> watched_;
  std::map<std::string, std::uint64_t> tags_;  // name → key of watched_
  std::map<std::string, Expected> expected_;
  std::uint64_t last_tag_ = kInotifyTag;
  std::optional<std::chrono::steady_clock::time_point> close_by_;  // set once closing

  std::mutex mutex_;  // guards the next two
  std::deque<std::function<void()>> queue_;
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Compute> make_local(LocalOptions options, Events events) {
  return std::make_unique<Local>(std::move(options), std::move(events));
}

}  // namespace athanor::compute
