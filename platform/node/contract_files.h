// The container contract (docs/contract.md) as files, command and variables: what the program finds below
// /opt/ml/input/config, what it is run by, and its environment.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/files.h"
#include "platform/node/job_spec.h"
#include "platform/node/sandbox.h"

namespace athanor::node {

inline constexpr int kRendezvousPort = 7700;
inline constexpr std::uint16_t kCredentialsPort = 9170;
inline constexpr const char* kEngineProgram = "/opt/athanor/bin/athanor-llm";

std::string hyperparameters_json(const JobSpec& job);
std::string input_data_config_json(const JobSpec& job);
std::string resource_config_json(const Prepare& prepare);

// What of it takes long and needs nothing but `ml` may be made ahead.
void make_contract_folders(Files& files, const std::string& ml);
// All of /opt/ml but what channels and checkpoints bring, below `ml`: its place on the host.
void write_contract_files(Files& files, const std::string& ml, const Prepare& prepare);

// Where checkpoints are in the sandbox: a folder below /opt/ml. Throws kInvalid, fit for a FailureReason, when LocalPath
// cannot be that.
std::string checkpoint_path(const JobSpec& job);

// The program with arguments and environment. `endpoint` is ours as the sandbox reaches it. Throws kInvalid, fit for a
// FailureReason, when the image is none that we have, or has no program and none was given.
Program contract_program(const Prepare& prepare, const std::string& endpoint);

}  // namespace athanor::node
