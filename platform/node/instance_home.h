// Where an agent lives, and as whom. As root it moves in as the job's user: its folder and our programs are bound where
// that user may reach them, and root is given up for good, before a word is heard from anybody. As an ordinary user
// everything stays as it is. From then on both are the same.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "platform/node/job_user.h"

namespace athanor::node {

struct InstanceHome {
  std::string folder;               // of the instance, as this process reaches it
  std::string programs;             // with athanor-launch and athanor-llm
  std::vector<std::string> hidden;  // what of the host a job must not see, by its real path
  std::optional<JobUser> user;
};

// `state`: the instance's folder. `uid`: the user of the job's network, 0 when there is none yet. Call before any
// thread exists.
InstanceHome move_in(const std::string& state, std::uint32_t uid);

// Empties the instance's folder of what the agent made there, whatever permissions the job gave to its folders.
void clear_out(const std::string& folder);

}  // namespace athanor::node
