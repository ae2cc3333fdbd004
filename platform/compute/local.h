// This machine, cut into instances: each a set of processors and a share of the memory, with one athanor-agent at a time.
//
// A job's network is held by one more process (`athanor-agent network`), its agents are `athanor-agent run`, each in a
// session of its own with its state in FOLDER/ID. One thread of ours starts, watches and ends them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "platform/compute/compute.h"

namespace athanor::compute {

struct LocalOptions {
  std::string folder;          // for the agents' states, 0700
  std::string agent_program;   // athanor-agent
  std::string server;          // "http://127.0.0.1:9100", as agents and the networks' forwarders dial it
  std::string server_file;     // written with it: where those that an earlier server started look for this one
  std::int32_t instances = 0;  // 0: two, or one on a machine with one processor
};

std::unique_ptr<Compute> make_local(LocalOptions options, Events events);

}  // namespace athanor::compute
