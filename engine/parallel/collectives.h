// What training needs of its peers, and no more: the ranks of one group call the same functions in the same order, with
// the same sizes. A broken or missing peer is an Error (kUnavailable) on every rank that waits for it, never a hang.
// The group's one thread calls.
#pragma once

#include <cstddef>
#include <span>

namespace athanor::parallel {

class Collectives {
 public:
  virtual ~Collectives() = default;
  virtual int rank() const = 0;  // from 0
  virtual int size() const = 0;
  // Every rank's buffer becomes the sum of all; bitwise the same on every rank.
  virtual void all_reduce_sum(std::span<float> buffer) = 0;
  // Every rank's buffer becomes that of `root`.
  virtual void broadcast(std::span<std::byte> buffer, int root) = 0;
  // Returns when every rank has called it.
  virtual void barrier() = 0;
};

// A group of one.
class Alone final : public Collectives {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void all_reduce_sum(std::span<float>) override {}
  void broadcast(std::span<std::byte>, int) override {}
  void barrier() override {}
};

}  // namespace athanor::parallel
