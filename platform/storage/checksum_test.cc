#include "platform/storage/checksum.h"

#include <gtest/gtest.h>

#include <vector>

#include "common/random.h"
#include "platform/storage/crc.h"

namespace athanor::storage {
namespace {

// The definition, a bit at a time.
std::uint64_t crc_by_bits(const CrcKind& kind, std::string_view bytes) {
  const std::uint64_t ones = ~std::uint64_t{0} >> (64 - kind.bits);
  std::uint64_t state = ones;
  for (const char c : bytes) {
    state ^= static_cast<unsigned char>(c);
    for (int i = 0; i < 8; ++i) state = (state >> 1) ^ ((state & 1) != 0 ? kind.polynomial : 0);
  }
  return state ^ ones;
}

std::string random_bytes(SeededRandom& random, std::size_t size) {
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random.next());
  return bytes;
}

TEST(Crc, CheckValuesOfTheCatalogue) {
  EXPECT_EQ(crc_update(kCrc32, 0, "123456789"), 0xCBF43926u);
  EXPECT_EQ(crc_update(kCrc32c, 0, "123456789"), 0xE3069283u);
  EXPECT_EQ(crc_update(kCrc64Nvme, 0, "123456789"), 0xAE8B14860A799888u);
}

TEST(Crc, AgreesWithTheDefinitionAtEveryLengthAndSplit) {
  SeededRandom random(1);
  for (const CrcKind& kind : {kCrc32, kCrc32c, kCrc64Nvme}) {
    for (std::size_t size = 0; size < 300; ++size) {
      const std::string bytes = random_bytes(random, size);
      const std::uint64_t expected = crc_by_bits(kind, bytes);
      EXPECT_EQ(crc_update(kind, 0, bytes), expected) << kind.bits << " bits, " << size << " bytes";
      const std::size_t cut = random.below(size + 1);
      const auto head = std::string_view(bytes).substr(0, cut);
      const auto tail = std::string_view(bytes).substr(cut);
      EXPECT_EQ(crc_update(kind, crc_update(kind, 0, head), tail), expected);
      EXPECT_EQ(crc_combine(kind, crc_update(kind, 0, head), crc_update(kind, 0, tail), tail.size()), expected);
    }
  }
}

TEST(Checksum, NamesRoundTrip) {
  for (const ChecksumAlgorithm algorithm : kChecksumAlgorithms) {
    EXPECT_EQ(find_checksum_algorithm(to_string(algorithm)), algorithm);
    EXPECT_EQ(checksum_of(algorithm, "abc").size(), checksum_bytes(algorithm));
  }
  EXPECT_FALSE(find_checksum_algorithm("crc32"));
  EXPECT_FALSE(find_checksum_algorithm("XXHASH3"));
}

TEST(Checksum, PublishedValues) {
  EXPECT_EQ(to_base64(checksum_of(ChecksumAlgorithm::kCrc32, "hello world")), "DUoRhQ==");
  EXPECT_EQ(to_base64(checksum_of(ChecksumAlgorithm::kSha256, "")), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
  EXPECT_EQ(to_base64(checksum_of(ChecksumAlgorithm::kMd5, "")), "1B2M2Y8AsgTpgAmY7PhCfg==");
}

TEST(Checksum, FullObjectOfPartsIsThatOfTheWhole) {
  SeededRandom random(2);
  for (const ChecksumAlgorithm algorithm :
       {ChecksumAlgorithm::kCrc32, ChecksumAlgorithm::kCrc32c, ChecksumAlgorithm::kCrc64Nvme}) {
    std::string whole;
    std::vector<PartChecksum> parts;
    for (int i = 0; i < 20; ++i) {
      const std::string part = random_bytes(random, random.below(5000));
      whole += part;
      parts.push_back({checksum_of(algorithm, part), part.size()});
    }
    const Checksum full = combine_checksums(algorithm, ChecksumType::kFullObject, parts);
    EXPECT_EQ(full.value, checksum_of(algorithm, whole)) << to_string(algorithm);
  }
}

TEST(Checksum, CompositeIsTheChecksumOfChecksums) {
  const std::string a = checksum_of(ChecksumAlgorithm::kSha256, "a");
  const std::string b = checksum_of(ChecksumAlgorithm::kSha256, "b");
  const PartChecksum parts[] = {{a, 1}, {b, 1}};
  const Checksum composite = combine_checksums(ChecksumAlgorithm::kSha256, ChecksumType::kComposite, parts);
  EXPECT_EQ(composite.text(), to_base64(checksum_of(ChecksumAlgorithm::kSha256, a + b)) + "-2");
}

}  // namespace
}  // namespace athanor::storage
