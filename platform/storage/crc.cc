#include "platform/storage/crc.h"

#include <array>
#include <bit>
#include <cstring>

#include "common/error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static_assert(std::endian::native == std::endian::little);

namespace athanor::storage {

namespace {

// Polynomials modulo P are kept reflected in the low `bits` bits: bit i is the coefficient of x^(bits-1-i).
constexpr std::uint64_t times_x(const CrcKind& kind, std::uint64_t a) {
  return (a >> 1) ^ ((a & 1) != 0 ? kind.polynomial : 0);
}

constexpr std::uint64_t one(const CrcKind& kind) { return std::uint64_t{1} << (kind.bits - 1); }

constexpr std::uint64_t multiply(const CrcKind& kind, std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  for (std::uint64_t bit = one(kind); bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = times_x(kind, b);
  }
  return product;
}

constexpr std::uint64_t x_to_the(const CrcKind& kind, std::uint64_t exponent) {
  std::uint64_t result = one(kind);
  std::uint64_t square = times_x(kind, one(kind));
  for (; exponent != 0; exponent >>= 1) {
    if ((exponent & 1) != 0) result = multiply(kind, result, square);
    square = multiply(kind, square, square);
  }
  return result;
}

using Tables = std::array<std::array<std::uint64_t, 256>, 8>;

// tables[k][b]: the CRC register after the byte b and k zero bytes.
constexpr Tables make_tables(const CrcKind& kind) {
  Tables tables{};
  for (std::uint64_t byte = 0; byte < 256; ++byte) {
    std::uint64_t value = byte;
    for (int i = 0; i < 8; ++i) value = times_x(kind, value);
    tables[0][byte] = value;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint64_t before = tables[k - 1][byte];
      tables[k][byte] = (before >> 8) ^ tables[0][before & 255];
    }
  }
  return tables;
}

// Factors that carry a 128-bit register `distance` bits ahead: one for its first 64 bits, one for its last. A product of
// two reflected 64-bit words comes out one power of x too high, hence the -1.
struct Fold {
  std::uint64_t first;
  std::uint64_t last;
};
constexpr Fold make_fold(const CrcKind& kind, std::uint64_t distance) {
  const int up = 64 - kind.bits;
  return {x_to_the(kind, distance + 63) << up, x_to_the(kind, distance - 1) << up};
}

struct Engine {
  Tables tables;
  Fold fold_512;
  Fold fold_128;
};

constexpr Engine make_engine(const CrcKind& kind) {
  return {make_tables(kind), make_fold(kind, 512), make_fold(kind, 128)};
}

constexpr Engine kEngine32 = make_engine(kCrc32);
constexpr Engine kEngine32c = make_engine(kCrc32c);
constexpr Engine kEngine64 = make_engine(kCrc64Nvme);

const Engine& engine_of(const CrcKind& kind) {
  if (kind.polynomial == kCrc32.polynomial) return kEngine32;
  if (kind.polynomial == kCrc32c.polynomial) return kEngine32c;
  ATHANOR_ASSERT(kind.polynomial == kCrc64Nvme.polynomial);
  return kEngine64;
}

std::uint64_t by_tables(const Engine& engine, std::uint64_t state, const char* at, std::size_t size) {
  const Tables& t = engine.tables;
  for (; size >= 8; at += 8, size -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, 8);
    word ^= state;
    state = t[7][word & 255] ^ t[6][(word >> 8) & 255] ^ t[5][(word >> 16) & 255] ^ t[4][(word >> 24) & 255] ^
            t[3][(word >> 32) & 255] ^ t[2][(word >> 40) & 255] ^ t[1][(word >> 48) & 255] ^ t[0][word >> 56];
  }
  for (; size > 0; ++at, --size) state = (state >> 8) ^ t[0][(state ^ static_cast<unsigned char>(*at)) & 255];
  return state;
}

#if defined(__x86_64__)

__attribute__((target("pclmul,sse4.1"))) inline __m128i folded(__m128i value, __m128i factors) {
  return _mm_xor_si128(_mm_clmulepi64_si128(value, factors, 0x00), _mm_clmulepi64_si128(value, factors, 0x11));
}

__attribute__((target("pclmul,sse4.1"))) inline __m128i load(const char* at) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
}

// size >= 64.
__attribute__((target("pclmul,sse4.1"))) std::uint64_t by_multiplication(const Engine& engine, std::uint64_t state,
                                                                         const char* at, std::size_t size) {
  const auto factors = [](const Fold& fold) {
    return _mm_set_epi64x(static_cast<long long>(fold.last), static_cast<long long>(fold.first));
  };
  const __m128i k512 = factors(engine.fold_512);
  const __m128i k128 = factors(engine.fold_128);
  __m128i a = _mm_xor_si128(load(at), _mm_cvtsi64_si128(static_cast<long long>(state)));
  __m128i b = load(at + 16);
  __m128i c = load(at + 32);
  __m128i d = load(at + 48);
  for (at += 64, size -= 64; size >= 64; at += 64, size -= 64) {
    a = _mm_xor_si128(folded(a, k512), load(at));
    b = _mm_xor_si128(folded(b, k512), load(at + 16));
    c = _mm_xor_si128(folded(c, k512), load(at + 32));
    d = _mm_xor_si128(folded(d, k512), load(at + 48));
  }
  a = _mm_xor_si128(folded(a, k128), b);
  a = _mm_xor_si128(folded(a, k128), c);
  a = _mm_xor_si128(folded(a, k128), d);
  for (; size >= 16; at += 16, size -= 16) a = _mm_xor_si128(folded(a, k128), load(at));
  char rest[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(rest), a);
  return by_tables(engine, by_tables(engine, 0, rest, 16), at, size);
}

#endif

}  // namespace

std::uint64_t crc_update(const CrcKind& kind, std::uint64_t crc, std::string_view bytes) {
  const Engine& engine = engine_of(kind);
  const std::uint64_t ones = ~std::uint64_t{0} >> (64 - kind.bits);
  const std::uint64_t state = crc ^ ones;
#if defined(__x86_64__)
  if (bytes.size() >= 64 && __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1")) {
    return by_multiplication(engine, state, bytes.data(), bytes.size()) ^ ones;
  }
#endif
  return by_tables(engine, state, bytes.data(), bytes.size()) ^ ones;
}

std::uint64_t crc_combine(const CrcKind& kind, std::uint64_t crc_a, std::uint64_t crc_b, std::uint64_t length_b) {
  return multiply(kind, crc_a, x_to_the(kind, 8 * length_b)) ^ crc_b;
}

}  // namespace athanor::storage
