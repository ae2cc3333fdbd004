// Documents as token ids that each are in the loss or not, mapped into memory: what instruction tuning and preference
// optimisation read. All numbers are little-endian:
//
//   offset  bytes
//        0      8   "ATHDOCUM"
//        8      4   version, 1
//       12      4   bytes of an id: 2 when the vocabulary allows it, else 4
//       16      8   vocabulary: every id is below it
//       24      8   count of ids
//       32      8   count of documents
//       40      8   documents that belong together: 1, or 2 when each two are the chosen and the rejected of a pair
//       48     32   SHA-256 of the tokenizer.json that made them, or zeros
//       80     16   zeros
//       96          the ids, with zeros to a multiple of 8 bytes;
//                   for each document 8 bytes: where it ends, counted in ids;
//                   for each id a bit, 1 when it is in the loss, lowest bits first, with zeros to a multiple of 8 bytes
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/files.h"
#include "common/mapped_file.h"
#include "common/whole_file.h"
#include "engine/data/conversation.h"
#include "engine/data/documents.h"

namespace athanor::data {

struct DocumentFileHeader {
  static constexpr std::size_t kBytes = 96;

  std::uint32_t id_bytes = 2;
  std::int64_t vocabulary = 0;
  std::int64_t ids = 0;
  std::int64_t documents = 0;
  std::int64_t group = 1;
  std::string tokenizer_sha256;  // 32 raw bytes; empty when not known

  // Where the parts begin.
  std::uint64_t ends_offset() const;
  std::uint64_t loss_offset() const;
  std::uint64_t file_bytes() const;
};

// Reads the header at the start of a file of `file_bytes` bytes. `source` names it in errors. Throws kCorrupt with what
// was found for anything but a whole document file.
DocumentFileHeader parse_document_file_header(std::string_view start, std::uint64_t file_bytes,
                                              std::string_view source);

// Writes a document file, which is a WholeFile. Holds a bit for each id and 8 bytes for each document in memory.
class DocumentFileWriter {
 public:
  // `vocabulary` from 1 to 2^31 - 1. `tokenizer_sha256` has 32 bytes or none. `group` is 1 or 2.
  DocumentFileWriter(Files& files, const std::string& path, std::int64_t vocabulary, std::string_view tokenizer_sha256,
                     std::int64_t group);
  // Writes into an empty file that is open already, and is the caller's to remove; nothing is made durable.
  DocumentFileWriter(std::unique_ptr<File> file, std::int64_t vocabulary, std::string_view tokenizer_sha256,
                     std::int64_t group);

  // One document, of one id or more. Throws kInvalid for an id that is not in the vocabulary.
  void append(std::span<const TokenRun> document);
  const DocumentFileHeader& header() const { return header_; }
  void finish();

 private:
  void flush();

  WholeFile file_;
  DocumentFileHeader header_;
  std::string buffer_;
  std::vector<std::int64_t> ends_;
  std::vector<std::uint64_t> in_loss_;  // 64 ids a word
};

// Immutable; any thread. The file may be removed while it is open.
class DocumentFile final : public Documents {
 public:
  // Throws kNotFound, kDenied, kCorrupt.
  explicit DocumentFile(const std::string& path);

  const DocumentFileHeader& header() const { return header_; }
  std::int64_t count() const override { return header_.documents; }
  std::int64_t end(std::int64_t index) const override { return ends_[static_cast<std::size_t>(index)]; }
  // Throw kCorrupt for an id beyond the vocabulary.
  void read(std::int64_t first, std::span<std::int32_t> into) const override;
  void read_targets(std::int64_t first, std::span<std::int32_t> into) const override;
  bool learns(std::int64_t first, std::int64_t last) const override;
  // Tells these documents from others: a SHA-256, in hex (fingerprint.h).
  std::string fingerprint() const;
  // The file's bytes, header included: to send it elsewhere.
  std::string_view bytes() const { return file_.bytes(); }

 private:
  void check_ends() const;
  bool in_loss(std::int64_t id) const { return in_loss_[id / 64] >> (id % 64) & 1; }

  const MappedFile file_;
  const DocumentFileHeader header_;
  const std::int64_t* const ends_;      // (documents)
  const std::uint64_t* const in_loss_;  // (ids / 64, rounded up)
};

}  // namespace athanor::data
