// Words and descriptors over a Unix socket between processes of ours. Blocking; async-signal-safe but for the Errors.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/descriptor.h"

namespace athanor {

inline constexpr std::size_t kDescriptorsPerMessageMax = 250;  // the kernel's SCM_MAX_FD is 253

struct SocketPair {
  Descriptor ours;
  Descriptor theirs;
};
// Close-on-exec on both ends. `type` is SOCK_STREAM or SOCK_SEQPACKET.
SocketPair make_socket_pair(int type);

struct Received {
  std::string bytes;  // empty: the other end is closed
  std::vector<Descriptor> descriptors;
};

// Sends `bytes` (not empty) and the descriptors with its first byte. Returns false, with errno, on failure.
bool send_with_descriptors(int socket, std::string_view bytes, std::span<const int> descriptors);
// Waits up to `timeout_ms` (-1: for ever) for bytes (at most `bytes_max`). Throws kUnavailable when none came.
Received receive_with_descriptors(int socket, std::size_t bytes_max, std::int64_t timeout_ms);

}  // namespace athanor
