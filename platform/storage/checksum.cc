#include "platform/storage/checksum.h"

#include "common/error.h"
#include "platform/storage/crc.h"

namespace athanor::storage {

namespace {

struct Facts {
  const char* name;
  const char* header;
  const char* element;
  std::size_t bytes;
  const char* digest;  // OpenSSL's name; null for CRCs
};

constexpr std::array<Facts, 7> kFacts = {{
    {"CRC32", "x-amz-checksum-crc32", "ChecksumCRC32", 4, nullptr},
    {"CRC32C", "x-amz-checksum-crc32c", "ChecksumCRC32C", 4, nullptr},
    {"CRC64NVME", "x-amz-checksum-crc64nvme", "ChecksumCRC64NVME", 8, nullptr},
    {"SHA1", "x-amz-checksum-sha1", "ChecksumSHA1", 20, "SHA1"},
    {"SHA256", "x-amz-checksum-sha256", "ChecksumSHA256", 32, "SHA256"},
    {"SHA512", "x-amz-checksum-sha512", "ChecksumSHA512", 64, "SHA512"},
    {"MD5", "x-amz-checksum-md5", "ChecksumMD5", 16, "MD5"},
}};

const Facts& facts_of(ChecksumAlgorithm algorithm) { return kFacts.at(static_cast<std::size_t>(algorithm)); }

const CrcKind& crc_kind(ChecksumAlgorithm algorithm) {
  switch (algorithm) {
    case ChecksumAlgorithm::kCrc32: return kCrc32;
    case ChecksumAlgorithm::kCrc32c: return kCrc32c;
    default: ATHANOR_ASSERT(algorithm == ChecksumAlgorithm::kCrc64Nvme); return kCrc64Nvme;
  }
}

std::string to_big_endian(std::uint64_t value, std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) text[bytes - 1 - i] = static_cast<char>(value >> (8 * i));
  return text;
}

std::uint64_t from_big_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

}  // namespace

const char* to_string(ChecksumAlgorithm algorithm) { return facts_of(algorithm).name; }
const char* to_string(ChecksumType type) { return type == ChecksumType::kComposite ? "COMPOSITE" : "FULL_OBJECT"; }
const char* checksum_header(ChecksumAlgorithm algorithm) { return facts_of(algorithm).header; }
const char* checksum_element(ChecksumAlgorithm algorithm) { return facts_of(algorithm).element; }
std::size_t checksum_bytes(ChecksumAlgorithm algorithm) { return facts_of(algorithm).bytes; }

std::optional<ChecksumAlgorithm> find_checksum_algorithm(std::string_view name) {
  for (const ChecksumAlgorithm algorithm : kChecksumAlgorithms) {
    if (name == to_string(algorithm)) return algorithm;
  }
  return std::nullopt;
}

std::optional<ChecksumType> find_checksum_type(std::string_view name) {
  if (name == "FULL_OBJECT") return ChecksumType::kFullObject;
  if (name == "COMPOSITE") return ChecksumType::kComposite;
  return std::nullopt;
}

std::string Checksum::text() const {
  return type == ChecksumType::kComposite ? to_base64(value) + "-" + std::to_string(parts) : to_base64(value);
}

ChecksumHasher::ChecksumHasher(ChecksumAlgorithm algorithm) : algorithm_(algorithm) {
  if (!is_crc(algorithm)) hasher_.emplace(facts_of(algorithm).digest);
}

void ChecksumHasher::update(std::string_view bytes) {
  if (hasher_) {
    hasher_->update(bytes);
  } else {
    crc_ = crc_update(crc_kind(algorithm_), crc_, bytes);
  }
}

std::string ChecksumHasher::finish() {
  return hasher_ ? hasher_->finish() : to_big_endian(crc_, checksum_bytes(algorithm_));
}

std::string checksum_of(ChecksumAlgorithm algorithm, std::string_view bytes) {
  ChecksumHasher hasher(algorithm);
  hasher.update(bytes);
  return hasher.finish();
}

Checksum combine_checksums(ChecksumAlgorithm algorithm, ChecksumType type, std::span<const PartChecksum> parts) {
  Checksum result{algorithm, type, {}, 0};
  if (type == ChecksumType::kComposite) {
    ChecksumHasher hasher(algorithm);
    for (const PartChecksum& part : parts) hasher.update(part.value);
    result.value = hasher.finish();
    result.parts = static_cast<std::uint32_t>(parts.size());
    return result;
  }
  ATHANOR_ASSERT(is_crc(algorithm));
  std::uint64_t crc = 0;
  for (const PartChecksum& part : parts) {
    crc = crc_combine(crc_kind(algorithm), crc, from_big_endian(part.value), part.size);
  }
  result.value = to_big_endian(crc, checksum_bytes(algorithm));
  return result;
}

}  // namespace athanor::storage
