// agent.proto in and out of control's plain structs, for the server's end of the link. The only file here that sees
// protobuf.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "platform/compute/compute.h"
#include "platform/control/machine.h"
#include "platform/control/record.h"
#include "platform/storage/logs.h"
#include "platform/store/store.h"

namespace athanor::server {

struct AgentHello {
  std::string instance;
  std::string token;
  control::Report report;
};
struct AgentReport {
  control::Report report;
};
struct AgentLogs {
  std::string stream;
  std::uint64_t offset = 0;
  std::uint64_t end_offset = 0;
  std::vector<storage::LogEvent> events;
};
struct AgentProgress {
  control::Progress values;
};
using FromAgent = std::variant<AgentHello, AgentReport, AgentLogs, AgentProgress>;

// Throws kInvalid, also for a version of the protocol and for phases that this server does not know.
FromAgent decode_from_agent(std::string_view bytes);

// What only the server knows of how a job is to be run.
struct JobSurroundings {
  std::string region;
  std::string ca_bundle;  // PEM
  store::Key role;
  compute::Network network;
};

// `surroundings` matters to kPrepare only.
std::string encode_order(const control::JobRecord& record, const control::InstanceRecord& instance,
                         const control::Action& action, const control::Tell& tell, const JobSurroundings& surroundings);
std::string encode_logs_acknowledged(std::uint64_t offset);

}  // namespace athanor::server
