// This machine, cut into instances: each a set of processors and a share of the memory, with one athanor-agent at a time.
//
// A job's network is held by one more process (`athanor-agent network`), its agents are `athanor-agent run`, each in a
// session of its own with its state in FOLDER/ID. One thread of ours starts, watches and ends them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "platform/compute/compute.h"

namespace athanor::compute {

struct LocalOptions {
  std::string folder;          // for the agents' states, 0700
  std::string agent_program;   // athanor-agent
  std::string server;          // "http://127.0.0.1:9100", as agents dial it
  std::string forward;         // "127.0.0.1:9100", where the network's forwarder leads
  std::int32_t instances = 0;  // 0: two, or one on a machine with one processor
};

// How `instances` share processors and memory: contiguous, as even as can be; processors are shared only when there are
// fewer of them than instances.
std::vector<control::Slot> cut(const std::vector<std::uint32_t>& cpus, std::uint64_t memory_bytes,
                               std::int32_t instances);

// The processors that this process may use, and the machine's memory.
std::vector<std::uint32_t> usable_cpus();
std::uint64_t machine_memory_bytes();

std::unique_ptr<Compute> make_local(LocalOptions options, Events events);

}  // namespace athanor::compute
