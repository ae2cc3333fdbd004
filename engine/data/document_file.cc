#include "engine/data/document_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "common/error.h"
#include "engine/data/fingerprint.h"
#include "engine/tensor/cross_entropy.h"

namespace athanor::data {

namespace {

static_assert(std::endian::native == std::endian::little, "ids are mapped as they are");

constexpr std::string_view kMagic = "ATHDOCUM";
constexpr std::uint32_t kVersion = 1;
constexpr std::int64_t kVocabularyMax = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kCountMax = std::int64_t{1} << 48;  // of ids and documents: no sum of their bytes overflows
constexpr std::size_t kBufferBytes = 1 << 20;
constexpr std::size_t kDigestBytes = 32;

// The header as it lies in the file.
struct Raw {
  char magic[8];
  std::uint32_t version;
  std::uint32_t id_bytes;
  std::int64_t vocabulary;
  std::int64_t ids;
  std::int64_t documents;
  std::int64_t group;
  char tokenizer_sha256[kDigestBytes];
  char zeros[16];
};
static_assert(sizeof(Raw) == DocumentFileHeader::kBytes);

DocumentFileHeader empty_header(std::int64_t vocabulary, std::string_view tokenizer_sha256, std::int64_t group) {
  ATHANOR_ASSERT(vocabulary >= 1 && vocabulary <= kVocabularyMax && (group == 1 || group == 2));
  ATHANOR_ASSERT(tokenizer_sha256.empty() || tokenizer_sha256.size() == kDigestBytes);
  return {.id_bytes = vocabulary <= 1 << 16 ? 2U : 4U,
          .vocabulary = vocabulary,
          .group = group,
          .tokenizer_sha256 = std::string(tokenizer_sha256)};
}

std::string header_bytes(const DocumentFileHeader& header) {
  Raw raw{};
  kMagic.copy(raw.magic, sizeof raw.magic);
  raw.version = kVersion;
  raw.id_bytes = header.id_bytes;
  raw.vocabulary = header.vocabulary;
  raw.ids = header.ids;
  raw.documents = header.documents;
  raw.group = header.group;
  header.tokenizer_sha256.copy(raw.tokenizer_sha256, kDigestBytes);
  return std::string(reinterpret_cast<const char*>(&raw), sizeof raw);
}

template <typename... Args>
Error damaged(std::string_view source, fmt::format_string<Args...> format, Args&&... args) {
  return Error(ErrorKind::kCorrupt, "Reading the document file {}: {}. Make it again from its texts", source,
               fmt::format(format, std::forward<Args>(args)...));
}

template <typename Number>
std::string_view bytes_of(const std::vector<Number>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(Number)};
}

std::uint64_t rounded_to_8(std::uint64_t bytes) { return (bytes + 7) / 8 * 8; }

}  // namespace

std::uint64_t DocumentFileHeader::ends_offset() const {
  return kBytes + rounded_to_8(static_cast<std::uint64_t>(ids) * id_bytes);
}
std::uint64_t DocumentFileHeader::loss_offset() const {
  return ends_offset() + static_cast<std::uint64_t>(documents) * 8;
}
std::uint64_t DocumentFileHeader::file_bytes() const {
  return loss_offset() + (static_cast<std::uint64_t>(ids) + 63) / 64 * 8;
}

DocumentFileHeader parse_document_file_header(std::string_view start, std::uint64_t file_bytes,
                                              std::string_view source) {
  if (file_bytes == 0) throw damaged(source, "it is empty");
  if (file_bytes < sizeof(Raw) || start.size() < sizeof(Raw)) {
    throw damaged(source, "it has {} bytes, and a header alone has {}", file_bytes, sizeof(Raw));
  }
  if (!start.starts_with(kMagic)) throw damaged(source, "it does not begin with {}, so it is none", kMagic);
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
  if (raw.ids < 0 || raw.ids > kCountMax || raw.documents < 0 || raw.documents > raw.ids) {
    throw damaged(source, "its header speaks of {} ids in {} documents", raw.ids, raw.documents);
  }
  if ((raw.group != 1 && raw.group != 2) || raw.documents % raw.group != 0) {
    throw damaged(source, "its header speaks of {} documents in groups of {}", raw.documents, raw.group);
  }
  DocumentFileHeader header{.id_bytes = raw.id_bytes,
                            .vocabulary = raw.vocabulary,
                            .ids = raw.ids,
                            .documents = raw.documents,
                            .group = raw.group};
  if (header.file_bytes() != file_bytes) {
    throw damaged(source, "it has {} bytes, and {} ids in {} documents take {}", file_bytes, raw.ids, raw.documents,
                  header.file_bytes());
  }
  const std::string_view digest(raw.tokenizer_sha256, kDigestBytes);
  if (digest.find_first_not_of('\0') != digest.npos) header.tokenizer_sha256 = digest;
  return header;
}

DocumentFileWriter::DocumentFileWriter(Files& files, const std::string& path, std::int64_t vocabulary,
                                       std::string_view tokenizer_sha256, std::int64_t group)
    : file_(files, path), header_(empty_header(vocabulary, tokenizer_sha256, group)) {
  file_->append(header_bytes(header_));
}

DocumentFileWriter::DocumentFileWriter(std::unique_ptr<File> file, std::int64_t vocabulary,
                                       std::string_view tokenizer_sha256, std::int64_t group)
    : file_(std::move(file)), header_(empty_header(vocabulary, tokenizer_sha256, group)) {
  file_->append(header_bytes(header_));
}

void DocumentFileWriter::flush() {
  file_->append(buffer_);
  buffer_.clear();
}

void DocumentFileWriter::append(std::span<const TokenRun> document) {
  const std::int64_t before = header_.ids;
  for (const TokenRun& run : document) {
    for (const std::int32_t id : run.tokens) {
      if (id < 0 || id >= header_.vocabulary) {
        throw Error(ErrorKind::kInvalid, "Writing the document file {}: the id {} is not below its vocabulary of {}",
                    file_.path(), id, header_.vocabulary);
      }
      buffer_.append(reinterpret_cast<const char*>(&id), header_.id_bytes);
      if (header_.ids % 64 == 0) in_loss_.push_back(0);
      in_loss_.back() |= std::uint64_t{run.in_loss} << (header_.ids++ % 64);
    }
    if (buffer_.size() >= kBufferBytes) flush();
  }
  ATHANOR_ASSERT(header_.ids > before);
  ends_.push_back(header_.ids);
  ++header_.documents;
}

void DocumentFileWriter::finish() {
  ATHANOR_ASSERT(!file_.finished() && header_.documents % header_.group == 0);
  const std::uint64_t body = static_cast<std::uint64_t>(header_.ids) * header_.id_bytes;
  buffer_.append(rounded_to_8(body) - body, '\0');
  flush();
  file_->append(bytes_of(ends_));
  file_->append(bytes_of(in_loss_));
  file_->write_at(0, header_bytes(header_));
  file_.finish();
}

DocumentFile::DocumentFile(const std::string& path)
    : file_(path),
      header_(parse_document_file_header(bytes().substr(0, DocumentFileHeader::kBytes), bytes().size(), path)),
      ends_(reinterpret_cast<const std::int64_t*>(bytes().data() + header_.ends_offset())),
      in_loss_(reinterpret_cast<const std::uint64_t*>(bytes().data() + header_.loss_offset())) {
  check_ends();
}

void DocumentFile::check_ends() const {
  std::int64_t before = 0;
  for (std::int64_t i = 0; i < header_.documents; ++i) {
    if (end(i) <= before || end(i) > header_.ids) {
      throw damaged(file_.path(), "document {} of {} ends at id {}, after {} and of {}", i, header_.documents, end(i),
                    before, header_.ids);
    }
    before = end(i);
  }
  if (before != header_.ids) throw damaged(file_.path(), "its documents end at id {} of {}", before, header_.ids);
}

std::string DocumentFile::fingerprint() const { return data::fingerprint(bytes().substr(DocumentFileHeader::kBytes)); }

void DocumentFile::read(std::int64_t first, std::span<std::int32_t> into) const {
  const auto size = static_cast<std::int64_t>(into.size());
  ATHANOR_ASSERT(first >= 0 && size <= header_.ids && first <= header_.ids - size);
  const char* from = bytes().data() + DocumentFileHeader::kBytes + static_cast<std::size_t>(first) * header_.id_bytes;
  if (header_.id_bytes == 2) {
    std::copy_n(reinterpret_cast<const std::uint16_t*>(from), into.size(), into.begin());
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

void DocumentFile::read_targets(std::int64_t first, std::span<std::int32_t> into) const {
  read(first, into);
  for (std::size_t i = 0; i < into.size(); ++i) {
    if (!in_loss(first + static_cast<std::int64_t>(i))) into[i] = tensor::kNoTarget;
  }
}

bool DocumentFile::learns(std::int64_t first, std::int64_t last) const {
  ATHANOR_ASSERT(first >= 0 && last <= header_.ids);
  for (std::int64_t id = first; id < last; ++id) {
    if (id % 64 == 0 && in_loss_[id / 64] == 0) {
      id += 63;
    } else if (in_loss(id)) {
      return true;
    }
  }
  return false;
}

}  // namespace athanor::data
