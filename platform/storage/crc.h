// The CRCs that S3 knows, at the speed of memory: carry-less multiplication where the processor has it, tables where
// not, and the CRC of a concatenation from the CRCs of its pieces.
//
// Method: V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction" (Intel, 2009), in
// its reflected form; the last 16 bytes go through the table, which spares the reduction.
#pragma once

#include <cstdint>
#include <string_view>

namespace athanor::storage {

// A reflected CRC with initial value and final XOR of all ones, of `bits` 32 or 64.
struct CrcKind {
  int bits;
  std::uint64_t polynomial;  // reflected
};

inline constexpr CrcKind kCrc32{32, 0xEDB88320};              // ISO-HDLC: "123456789" gives CBF43926
inline constexpr CrcKind kCrc32c{32, 0x82F63B78};             // iSCSI: E3069283
inline constexpr CrcKind kCrc64Nvme{64, 0x9A6C9329AC4BC9B5};  // AE8B14860A799888

// The CRC of what `crc` stands for followed by `bytes`; begin with 0. `kind` is one of the three above.
std::uint64_t crc_update(const CrcKind& kind, std::uint64_t crc, std::string_view bytes);
// The CRC of A followed by B, of which the second is `length_b` bytes long.
std::uint64_t crc_combine(const CrcKind& kind, std::uint64_t crc_a, std::uint64_t crc_b, std::uint64_t length_b);

}  // namespace athanor::storage
