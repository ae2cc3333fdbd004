#include "engine/data/token_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "common/error.h"
#include "engine/data/fingerprint.h"

namespace athanor::data {

namespace {

static_assert(std::endian::native == std::endian::little, "ids are mapped as they are");

constexpr std::string_view kMagic = "ATHTOKEN";
constexpr std::uint32_t kVersion = 1;
constexpr std::int64_t kVocabularyMax = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kBufferBytes = 1 << 20;
constexpr std::size_t kDigestBytes = 32;

// The header as it lies in the file.
struct Raw {
  char magic[8];
  std::uint32_t version;
  std::uint32_t id_bytes;
  std::int64_t vocabulary;
  std::int64_t count;
  char tokenizer_sha256[kDigestBytes];
};
static_assert(sizeof(Raw) == TokenFileHeader::kBytes);

TokenFileHeader empty_header(std::int64_t vocabulary, std::string_view tokenizer_sha256) {
  ATHANOR_ASSERT(vocabulary >= 1 && vocabulary <= kVocabularyMax);
  ATHANOR_ASSERT(tokenizer_sha256.empty() || tokenizer_sha256.size() == kDigestBytes);
  return {.id_bytes = vocabulary <= 1 << 16 ? 2U : 4U,
          .vocabulary = vocabulary,
          .tokenizer_sha256 = std::string(tokenizer_sha256)};
}

std::string header_bytes(const TokenFileHeader& header) {
  Raw raw{};
  kMagic.copy(raw.magic, sizeof raw.magic);
  raw.version = kVersion;
  raw.id_bytes = header.id_bytes;
  raw.vocabulary = header.vocabulary;
  raw.count = header.count;
  header.tokenizer_sha256.copy(raw.tokenizer_sha256, kDigestBytes);
  return std::string(reinterpret_cast<const char*>(&raw), sizeof raw);
}

template <typename... Args>
Error damaged(std::string_view source, fmt::format_string<Args...> format, Args&&... args) {
  return Error(ErrorKind::kCorrupt, "Reading the token file {}: {}. Make it again with `athanor-llm tokenize`", source,
               fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace

bool looks_like_token_file(std::string_view start) { return start.starts_with(kMagic); }

TokenFileHeader parse_token_file_header(std::string_view start, std::uint64_t file_bytes, std::string_view source) {
  if (file_bytes == 0) throw damaged(source, "it is empty");
  if (file_bytes < sizeof(Raw) || start.size() < sizeof(Raw)) {
    throw damaged(source, "it has {} bytes, and a header alone has {}", file_bytes, sizeof(Raw));
  }
  if (!looks_like_token_file(start)) throw damaged(source, "it does not begin with {}, so it is none", kMagic);
  Raw raw;
  std::memcpy(&raw, start.data(), sizeof raw);
  if (raw.version != kVersion) {
    throw damaged(source, "it has version {}, and we read version {}", raw.version, kVersion);
  }
  if (raw.id_bytes != 2 && raw.id_bytes != 4) {
    throw damaged(source, "its ids have {} bytes instead of 2 or 4", raw.id_bytes);
  }
  if (raw.vocabulary < 1 || raw.vocabulary > kVocabularyMax) {
    throw damaged(source, "its vocabulary is {}", raw.vocabulary);
  }
  const std::uint64_t body = file_bytes - sizeof raw;
  if (raw.count < 0 || body % raw.id_bytes != 0 || body / raw.id_bytes != static_cast<std::uint64_t>(raw.count)) {
    throw damaged(source, "it has {} bytes of ids, and its header speaks of {} ids of {} bytes", body, raw.count,
                  raw.id_bytes);
  }
  TokenFileHeader header{.id_bytes = raw.id_bytes, .vocabulary = raw.vocabulary, .count = raw.count};
  const std::string_view digest(raw.tokenizer_sha256, kDigestBytes);
  if (digest.find_first_not_of('\0') != digest.npos) header.tokenizer_sha256 = digest;
  return header;
}

TokenFileWriter::TokenFileWriter(Files& files, const std::string& path, std::int64_t vocabulary,
                                 std::string_view tokenizer_sha256)
    : file_(files, path), header_(empty_header(vocabulary, tokenizer_sha256)) {
  file_->append(header_bytes(header_));
}

TokenFileWriter::TokenFileWriter(std::unique_ptr<File> file, std::int64_t vocabulary, std::string_view tokenizer_sha256)
    : file_(std::move(file)), header_(empty_header(vocabulary, tokenizer_sha256)) {
  file_->append(header_bytes(header_));
}

void TokenFileWriter::append(std::span<const std::int32_t> ids) {
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= header_.vocabulary) {
      throw Error(ErrorKind::kInvalid, "Writing the token file {}: the id {} is not below its vocabulary of {}",
                  file_.path(), id, header_.vocabulary);
    }
    buffer_.append(reinterpret_cast<const char*>(&id), header_.id_bytes);
    if (buffer_.size() >= kBufferBytes) {
      file_->append(buffer_);
      buffer_.clear();
    }
  }
  header_.count += static_cast<std::int64_t>(ids.size());
}

void TokenFileWriter::finish() {
  ATHANOR_ASSERT(!file_.finished());
  file_->append(buffer_);
  file_->write_at(0, header_bytes(header_));
  file_.finish();
}

TokenFile::TokenFile(const std::string& path)
    : file_(path), header_(parse_token_file_header(bytes().substr(0, TokenFileHeader::kBytes), bytes().size(), path)) {}

void TokenFile::read(std::int64_t first, std::span<std::int32_t> into) const {
  const auto size = static_cast<std::int64_t>(into.size());
  ATHANOR_ASSERT(first >= 0 && size <= header_.count && first <= header_.count - size);
  const char* from = bytes().data() + TokenFileHeader::kBytes + static_cast<std::size_t>(first) * header_.id_bytes;
  if (header_.id_bytes == 2) {
    const auto* ids = reinterpret_cast<const std::uint16_t*>(from);
    std::copy_n(ids, into.size(), into.begin());
  } else {
    std::memcpy(into.data(), from, into.size_bytes());
  }
  for (std::size_t i = 0; i < into.size(); ++i) {
    if (into[i] < 0 || into[i] >= header_.vocabulary) {
      throw damaged(file_.path(), "id {} is {}, and the vocabulary has {}", first + static_cast<std::int64_t>(i),
                    into[i], header_.vocabulary);
    }
  }
}

std::string TokenFile::fingerprint() const { return data::fingerprint(bytes().substr(TokenFileHeader::kBytes)); }

}  // namespace athanor::data
