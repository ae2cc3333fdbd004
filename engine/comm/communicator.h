// Collectives between the ranks of one job, over TCP in a ring. The contract is athanor_comm.h's; this is the same in
// C++, with athanor::Error instead of statuses.
//
// The ring: rank r sends only to r+1 and receives only from r-1 (modulo the world). An all-reduce cuts the buffer into
// world_size segments; each goes round once being summed (reduce-scatter) and once being copied (all-gather), so that
// every rank sends 2(N-1)/N of the buffer whatever N is. (Patarasuk and Yuan, 2009.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "engine/comm/socket.h"

namespace athanor::comm {

struct CommOptions {
  int rank = 0;
  int world_size = 1;
  std::string rendezvous;  // HOST:PORT where rank 0 listens; unused when world_size is 1
  std::uint64_t generation = 0;
  std::int64_t connect_timeout_ms = 120'000;
  std::int64_t timeout_ms = 600'000;  // longest wait in a collective without a byte moving
};

// One thread at a time. After an Error every later call throws the same Error.
class Communicator {
 public:
  // Connects; returns when the ring is closed. Throws kInvalid (options), kUnavailable (no peer in time), kConflict (the
  // ranks differ in generation or world size, or two living processes are one rank). Rank 0 throws no kConflict for
  // peers of an earlier generation: they get one, and it waits for those of its own.
  explicit Communicator(CommOptions options);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return options_.rank; }
  int world_size() const { return options_.world_size; }

  void all_reduce_sum(std::span<float> buffer);
  void broadcast(void* buffer, std::size_t bytes, int root);
  void barrier();

 private:
  struct Header;

  template <typename Operation>
  void guarded(Operation operation);
  Header make_header(std::uint32_t kind, std::uint64_t size, std::uint64_t argument);
  void exchange_headers(const Header& mine);
  void pass_token();

  const CommOptions options_;
  Peer next_;      // we send to it
  Peer previous_;  // we receive from it
  std::uint64_t sequence_ = 0;
  std::unique_ptr<char[]> staging_;  // received bytes on their way into a sum
  std::string failure_;              // not empty: spent
};

}  // namespace athanor::comm
