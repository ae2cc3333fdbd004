// Randomness as a seam: what must be reproducible takes a Random made from a seed; what must be secret takes the
// system's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace athanor {

class Random {
 public:
  virtual ~Random() = default;
  virtual std::uint64_t next() = 0;

  // `count` random bytes as 2*count lower-case hexadecimal digits.
  std::string hex(std::size_t count);
  // Uniform in [0, bound); bound > 0.
  std::uint64_t below(std::uint64_t bound);
  // Uniform in [0, 1) with 53 bits.
  double uniform();
};

// getrandom(2): fit for keys and tokens. Any thread.
class SystemRandom final : public Random {
 public:
  std::uint64_t next() override;
};

// SplitMix64 (Steele, Lea, Flood 2014): 8 bytes of state, the same numbers on every machine. One thread.
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() override;
  std::uint64_t state() const { return state_; }
  void set_state(std::uint64_t state) { state_ = state; }

 private:
  std::uint64_t state_;
};

}  // namespace athanor
