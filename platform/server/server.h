// The whole platform in one process: what `athanor up` runs, and what its other commands need to find it.
//
// run() owns everything: data folder, store, object store, logs, compute, control plane, the port. Jobs outlive it:
// SIGTERM or SIGINT ends the server and leaves jobs running; SIGUSR1 (what `athanor down` sends) ends all jobs and
// agents first.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace athanor::server {

struct Options {
  std::string data_dir;  // made when absent
  std::string address = "127.0.0.1";
  std::uint16_t port = 9100;   // 0: the one this data folder had last if it is free, else any
  std::int32_t instances = 0;  // 0: two, or one on a machine with one processor
  std::string region;          // empty: the data folder's; of a new one us-east-1
  std::string account;         // empty: the data folder's; of a new one twelve zeros
  std::string agent_program;   // empty: athanor-agent beside this program
  int io_threads = 2;
};

// What clients need to know; DATA_DIR/endpoint holds it as JSON (mode 0600) while, and after, a server runs.
struct Endpoint {
  std::string address;
  std::uint16_t port = 0;
  std::int64_t pid = 0;
  std::string region;
  std::string account;
  std::string access_key_id;
  std::string secret_access_key;
  std::string role_arn;
  std::string bucket;
  std::string ca_path;

  std::string http() const;   // "http://127.0.0.1:9100"
  std::string https() const;  // "https://127.0.0.1:9100"
};

// What is told once requests are answered.
struct Ready {
  Endpoint endpoint;
  bool first_start = false;  // keys, certificate and bucket were made just now
  std::size_t instances = 0;
  std::size_t live_jobs = 0;
};

// How a server ended.
struct Ended {
  bool ended_all = false;     // by down(); no job and no agent is left
  std::size_t live_jobs = 0;  // jobs left running
};

// Runs until a signal ends it. Blocks; once per process; takes over SIGINT, SIGTERM and SIGUSR1 and ignores SIGPIPE.
// Throws athanor::Error when it cannot start: the port or the folder is in use (kConflict), or the folder is of another
// region or account (kConflict); the folder cannot be written, its data is of a newer version.
// `end_all`: stop all jobs at once, as if down() had been called.
Ended run(const Options& options, const std::function<void(const Ready&)>& on_ready, bool end_all = false);

// The endpoint that DATA_DIR/endpoint tells; nothing when no server ever ran there.
std::optional<Endpoint> read_endpoint(const std::string& data_dir);
// The pid of the server that runs on this data folder; 0 when none does.
std::int64_t running_server(const std::string& data_dir);

enum class Down {
  kNothing,   // there was nothing to end
  kAll,       // has ended
  kSomeLeft,  // the server was ended (Ctrl-C) before all the rest was
};

// Ends everything that belongs to the data folder and returns when it has ended: asks the running server, or, when none
// runs and something is left to be ended, runs one for as long as that takes, on 127.0.0.1 at whatever port is free: agents
// find it. Jobs get SIGTERM, and SIGKILL after kDownGrace_s.
// `on_wait` hears how many jobs it waits for, where it must run a server to know; who asks a running one can ask it that too.
// Throws kUnavailable when it does not end within kDownTimeout_s.
inline constexpr std::int64_t kDownGrace_s = 20;
inline constexpr std::int64_t kDownTimeout_s = 180;
Down down(const Options& options, const std::function<void(std::size_t live_jobs)>& on_wait = {});

}  // namespace athanor::server
