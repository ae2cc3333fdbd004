#include "common/random.h"

#include <sys/random.h>

#include <cerrno>

#include "common/error.h"

namespace athanor {

std::string Random::hex(std::size_t count) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * count);
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (i % 8 == 0) bits = next();
    text.push_back(kDigits[(bits >> 4) & 15]);
    text.push_back(kDigits[bits & 15]);
    bits >>= 8;
  }
  return text;
}

std::uint64_t Random::below(std::uint64_t bound) {
  ATHANOR_ASSERT(bound > 0);
  // Draws above the largest multiple of `bound` would favour the small results: draw again (at most a few times).
  const std::uint64_t excess = (0 - bound) % bound;
  for (;;) {
    const std::uint64_t draw = next();
    if (draw >= excess) return draw % bound;
  }
}

double Random::uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

std::uint64_t SystemRandom::next() {
  std::uint64_t bits = 0;
  auto* at = reinterpret_cast<char*>(&bits);
  std::size_t left = sizeof bits;
  while (left > 0) {
    const ssize_t got = getrandom(at, left, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw system_error(errno, "reading the kernel's random numbers");
    at += got;
    left -= static_cast<std::size_t>(got);
  }
  return bits;
}

std::uint64_t SeededRandom::next() {
  state_ += 0x9E3779B97F4A7C15ull;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

}  // namespace athanor
