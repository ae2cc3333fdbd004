// All memory of a program, planned before its first step: one table of named tensors with lifetimes, one allocation.
//
// Time is counted in phases that the planner of the tensors numbers as it likes (a decoder: forward through its layers,
// then back). Two tensors may share bytes when no phase needs both. add() everything, then allocate() once; the
// references that add() returns are good for the plan's life and point somewhere after allocate(). One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "engine/tensor/context.h"
#include "engine/tensor/tensor.h"

namespace athanor::tensor {

// The phases in which a tensor's contents matter, both ends included; not so those of the gap, if it has one.
struct Lifetime {
  int first = 0;
  int last = 0;
  int gap_first = 0;
  int gap_last = -1;
  static constexpr Lifetime always() { return {INT32_MIN, INT32_MAX}; }
  bool overlaps(const Lifetime& other) const {
    return first <= other.last && other.first <= last && !in_gap_of(other) && !other.in_gap_of(*this);
  }

 private:
  bool in_gap_of(const Lifetime& other) const { return other.gap_first <= first && last <= other.gap_last; }
};

// A part of a vector that has a lifetime of its own.
struct LivingPart {
  std::int64_t count = 0;  // of elements
  Lifetime lifetime;
};

class MemoryPlan {
 public:
  MemoryPlan() = default;
  ~MemoryPlan();
  MemoryPlan(const MemoryPlan&) = delete;
  MemoryPlan& operator=(const MemoryPlan&) = delete;

  // `group` is the line of the table that this tensor is counted in ("parameters"); `name` is its own. Throws kExhausted
  // for a tensor that no machine has memory for.
  const Tensor& add(const std::string& group, const std::string& name, DType type,
                    std::initializer_list<std::int64_t> shape, Lifetime lifetime = Lifetime::always());

  // A matrix that rows are computed on: its rows lie an odd number of cache lines apart. A product that reads it by
  // columns (the gradient of a weight) would otherwise hit the same few cache sets on every row, at half the speed.
  const Tensor& add_rows(const std::string& group, const std::string& name, DType type, std::int64_t rows,
                         std::int64_t columns, Lifetime lifetime = Lifetime::always());
  const Tensor& add_rows(const std::string& group, const std::string& name, std::int64_t rows, std::int64_t columns,
                         Lifetime lifetime = Lifetime::always()) {
    return add_rows(group, name, DType::kFloat32, rows, columns, lifetime);
  }

  // A vector whose parts follow each other and are needed in phases of their own: what is needed in others may lie in its place.
  const Tensor& add_parts(const std::string& group, const std::string& name, DType type,
                          std::span<const LivingPart> parts);

  // What the fullest phase needs: no placing takes less, and few take much more. Known before allocate().
  std::uint64_t least_bytes() const;
  // What allocate() will take; gives everything its place, which takes long for very many tensors.
  std::uint64_t placed_bytes();

  // Places and allocates everything, zeroed. Throws kExhausted when it is more than `limit_bytes`, with the largest
  // lines of the table and `advice`: what the user can change ("a smaller micro-batch").
  void allocate(std::uint64_t limit_bytes, const std::string& advice);
  // After allocate(): has the system give every page now. Else each comes with its first use, which for longer rows or a
  // checkpoint may be hours later, when the memory has gone to others. Contents stay.
  void take_pages(Context& context);

  // Bytes of the allocation; known after allocate().
  std::uint64_t bytes() const { return bytes_; }
  // One line a group, largest first, then what sharing saves and the total; for people.
  std::string table() const;

 private:
  // Bytes that are needed in some phases.
  struct Extent {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    Lifetime lifetime;
  };
  struct Entry {
    std::string group;
    std::string name;
    Tensor tensor;
    std::vector<Extent> extents;  // from its own first byte
    std::uint64_t bytes = 0;      // rounded up to the alignment
    std::uint64_t offset = 0;     // in the arena
  };
  const Tensor& add(Entry entry, std::uint64_t bytes, Lifetime lifetime);
  // Gives the entries their places in this order; returns what all take.
  static std::uint64_t place(const std::vector<Entry*>& order);
  void place();

  std::deque<Entry> entries_;  // a deque: references stay good while it grows
  void* arena_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::uint64_t mapped_bytes_ = 0;
};

// "1.50 GiB", "12.0 MiB".
std::string format_bytes(std::uint64_t bytes);

}  // namespace athanor::tensor
