// Where instances come from. The driver asks; what happens to them comes back through Events, on a thread of compute's
// own (the driver posts it to its own at once).
//
// Everything is idempotent and survives the server: an agent that was started once, by this process or one before it,
// is found again by its id and never started twice.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "platform/control/record.h"

namespace athanor::compute {

// What joins the instances of one job, as their agents need to know it.
struct Network {
  std::string folder;
  std::string endpoint;                // where the sandboxes reach the server
  std::vector<std::string> addresses;  // of algo-1 … algo-N
};

struct Events {
  // The agent's process has ended (or never was, where it should have been); told once for each launch or discard.
  std::function<void(std::string instance, std::string why)> on_gone;
  std::function<void(std::int64_t job, std::uint32_t attempt, Network network)> on_network;
  // The job cannot be launched, or lost what joins its instances; `why` is a FailureReason.
  std::function<void(std::int64_t job, std::uint32_t attempt, std::string why)> on_failed;
};

struct InstanceStart {
  std::string id;
  std::uint32_t index = 0;
  control::Slot slot;
  std::string token;         // the secret with which the agent says hello
  bool attach_only = false;  // it was started before: find it, or tell that it is gone
};

struct JobStart {
  std::int64_t job = 0;
  std::uint32_t attempt = 0;
  std::vector<InstanceStart> instances;
};

class Compute {
 public:
  virtual ~Compute() = default;
  virtual std::vector<control::Slot> slots() const = 0;
  virtual void launch(JobStart start) = 0;
  // Ends the agent by force, with what it started. Answered by on_gone, also when there is nothing to end.
  virtual void discard(std::string instance) = 0;
  // Ends the job's network and removes its folders. Its agents are gone.
  virtual void clean(std::int64_t job, std::uint32_t attempt, std::vector<std::string> instances) = 0;
  // Ends and removes whatever an earlier server left behind that is not among these.
  virtual void keep_only(std::set<std::string> instances, std::set<std::int64_t> jobs) = 0;
};

}  // namespace athanor::compute
