// What an AWS client must find in its environment to come to our server.
#pragma once

#include <map>
#include <string>

#include "platform/cli/connection.h"

namespace athanor::cli {

// The variables that `athanor env` prints. Writes, when they are missing or outdated, the files that they name: the CA
// bundle (ours and the system's) and the SDKs' file of defaults, both under DATA/client.
std::map<std::string, std::string> client_environment(const Place& place, bool secure);

// The variables of `athanor exec`: keys and region, no endpoint (the client shall believe that it speaks to AWS), our CA
// for every TLS library that can be told by a variable, and the caller's others without those that would lead elsewhere.
std::map<std::string, std::string> exec_environment(const Place& place);

}  // namespace athanor::cli
