// DATA/endpoint: where a running server is and what a client of this machine needs to reach it, as JSON (mode 0600, for
// it holds the key pair). Written once the server listens, and left when it ends: `pid` tells whether it still runs.
// `athanor env` and every other command of the command line start from it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/files.h"

namespace athanor::server {

struct EndpointFile {
  std::string address;  // "127.0.0.1"
  std::uint16_t port = 0;
  std::int64_t pid = 0;
  std::string region;
  std::string account;
  std::string role_arn;
  std::string bucket;   // made at the first start
  std::string access_key_id;
  std::string secret_access_key;
  std::string ca_file;  // PEM of our certificate authority
};

// Whole or not at all: a reader never sees half of it.
void write_endpoint_file(Files& files, const std::string& data_dir, const EndpointFile& endpoint);
// Nothing when there is none: no server ever ran here. Throws kCorrupt when it cannot be understood.
std::optional<EndpointFile> read_endpoint_file(Files& files, const std::string& data_dir);

}  // namespace athanor::server
