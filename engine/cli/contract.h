// The container contract from inside the container (docs/contract.md): where a training job's program finds what it is
// told and leaves what it made, and how it says how far it is.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/files.h"
#include "common/json.h"

namespace athanor::llm {

// Returns null for what is not set: std::getenv, or a test's.
using Environment = std::function<const char*(const char*)>;

class Contract {
 public:
  // `root` is /opt/ml, or what stands for it in a test. `files` must outlive it.
  Contract(Files& files, std::string root) : files_(files), root_(std::move(root)) {}

  // Whether this process runs in such a container.
  bool present() const;
  // Throws kNotFound, kInvalid.
  json::object hyperparameters() const;
  // The folder of a channel; nothing when the job has none of this name. Throws kInvalid when it is not one that the
  // engine can use: sharded over the instances, or not in File mode.
  std::optional<std::string> channel(const std::string& name) const;
  std::string model() const { return root_ + "/model"; }
  // Where a job keeps its checkpoints: ATHANOR_CHECKPOINTS, else the folder where SageMaker has it by default. Empty when
  // it keeps none.
  std::string checkpoints(const Environment& environment) const;
  // Leaves the reason of a failure where the platform looks for it. Its own failure is only logged.
  void fail(std::string_view reason) const;

  // {"hosts": …, "current_host": …}; empty when there is no such file.
  json::object resources() const;

 private:
  Files& files_;
  const std::string root_;
};

// Which instance this is, and where all of them meet.
struct Peers {
  int rank = 0;
  int world_size = 1;
  std::string rendezvous;  // HOST:PORT; empty when there is one instance
  std::uint64_t generation = 0;
};

// From the ATHANOR_* variables where they are set, else from resourceconfig.json as every SageMaker container has it.
// Throws kInvalid, naming the variable.
Peers peers_of(const Environment& environment, const json::object& resources);

// Messages to the agent. Nothing to do without a socket; a socket that breaks is given up with a warning, because no
// training should end for want of a progress bar. One thread.
class AgentSocket {
 public:
  // `path` may be empty.
  explicit AgentSocket(const std::string& path);
  ~AgentSocket();
  AgentSocket(const AgentSocket&) = delete;
  AgentSocket& operator=(const AgentSocket&) = delete;

  void beat(std::int64_t step, std::int64_t steps, double loss, double tokens_per_s, double seconds_left);
  // The folder NAME below the checkpoints is complete.
  void checkpoint(const std::string& name, std::int64_t step);

 private:
  void send(const json::object& message);
  int fd_ = -1;
};

}  // namespace athanor::llm
