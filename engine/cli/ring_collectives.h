// The ranks of a job as the trainer sees them, over comm's ring.
#pragma once

#include <utility>

#include "engine/comm/communicator.h"
#include "engine/parallel/collectives.h"

namespace athanor::llm {

class RingCollectives final : public parallel::Collectives {
 public:
  explicit RingCollectives(comm::CommOptions options) : ring_(std::move(options)) {}

  int rank() const override { return ring_.rank(); }
  int size() const override { return ring_.world_size(); }
  void all_reduce_sum(std::span<float> buffer) override { ring_.all_reduce_sum(buffer); }
  void broadcast(std::span<std::byte> buffer, int root) override {
    ring_.broadcast(buffer.data(), buffer.size(), root);
  }
  void barrier() override { ring_.barrier(); }

 private:
  comm::Communicator ring_;
};

}  // namespace athanor::llm
