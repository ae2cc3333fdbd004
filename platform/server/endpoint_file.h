// DATA_DIR/endpoint: what clients on this machine need to know of their server, written once it listens. (read_endpoint
// is in server.h.)
#pragma once

#include <string>

#include "common/files.h"
#include "platform/server/server.h"

namespace athanor::server {

// Mode 0600: it holds the secret key.
void write_endpoint(Files& files, const std::string& data_dir, const Endpoint& endpoint);

}  // namespace athanor::server
