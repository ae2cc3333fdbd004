// S3's additional checksums by their names: computed piece by piece, and combined over the parts of an upload.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "common/hash.h"

namespace athanor::storage {

enum class ChecksumAlgorithm { kCrc32, kCrc32c, kCrc64Nvme, kSha1, kSha256, kSha512, kMd5 };
inline constexpr std::array kChecksumAlgorithms = {ChecksumAlgorithm::kCrc32,     ChecksumAlgorithm::kCrc32c,
                                                   ChecksumAlgorithm::kCrc64Nvme, ChecksumAlgorithm::kSha1,
                                                   ChecksumAlgorithm::kSha256,    ChecksumAlgorithm::kSha512,
                                                   ChecksumAlgorithm::kMd5};

// Of all bytes, or of the parts' checksums.
enum class ChecksumType { kFullObject, kComposite };

const char* to_string(ChecksumAlgorithm algorithm);  // "CRC64NVME"
const char* to_string(ChecksumType type);            // "FULL_OBJECT"
// Nothing for names that we do not know. Case counts.
std::optional<ChecksumAlgorithm> find_checksum_algorithm(std::string_view name);
std::optional<ChecksumType> find_checksum_type(std::string_view name);
// "x-amz-checksum-crc64nvme", and the element of XML replies, "ChecksumCRC64NVME".
const char* checksum_header(ChecksumAlgorithm algorithm);
const char* checksum_element(ChecksumAlgorithm algorithm);
std::size_t checksum_bytes(ChecksumAlgorithm algorithm);
inline bool is_crc(ChecksumAlgorithm algorithm) { return algorithm <= ChecksumAlgorithm::kCrc64Nvme; }

// A checksum as stored and shown.
struct Checksum {
  ChecksumAlgorithm algorithm = ChecksumAlgorithm::kCrc64Nvme;
  ChecksumType type = ChecksumType::kFullObject;
  std::string value;        // raw bytes
  std::uint32_t parts = 0;  // of a composite one

  // Base64, with "-PARTS" when composite.
  std::string text() const;
};

// One thread.
class ChecksumHasher {
 public:
  explicit ChecksumHasher(ChecksumAlgorithm algorithm);
  ChecksumAlgorithm algorithm() const { return algorithm_; }
  void update(std::string_view bytes);
  // Raw bytes, CRCs big-endian; the object is then spent.
  std::string finish();

 private:
  ChecksumAlgorithm algorithm_;
  std::uint64_t crc_ = 0;
  std::optional<Hasher> hasher_;
};

std::string checksum_of(ChecksumAlgorithm algorithm, std::string_view bytes);

struct PartChecksum {
  std::string value;  // raw bytes
  std::uint64_t size = 0;
};
// Over the parts in order. Only CRCs have a full-object checksum.
Checksum combine_checksums(ChecksumAlgorithm algorithm, ChecksumType type, std::span<const PartChecksum> parts);

}  // namespace athanor::storage
