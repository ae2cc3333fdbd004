// A text as token ids, mapped into memory: opening it costs nothing, reading costs what is read, and the processes of a
// machine share the pages. All numbers are little-endian:
//
//   offset  bytes
//        0      8   "ATHTOKEN"
//        8      4   version, 1
//       12      4   bytes of an id: 2 when the vocabulary allows it, else 4
//       16      8   vocabulary: every id is below it
//       24      8   count of ids
//       32     32   SHA-256 of the tokenizer.json that made them, so that tokens never meet a model of another; or zeros
//       64          the ids
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

namespace athanor::data {

struct TokenFileHeader {
  static constexpr std::size_t kBytes = 64;

  std::uint32_t id_bytes = 2;
  std::int64_t vocabulary = 0;
  std::int64_t count = 0;
  std::string tokenizer_sha256;  // 32 raw bytes; empty when not known
};

// Reads the header at the start of a file of `file_bytes` bytes. `source` names it in errors. Throws kCorrupt with what
// was found for anything but a whole token file.
TokenFileHeader parse_token_file_header(std::string_view start, std::uint64_t file_bytes, std::string_view source);

// Whether a file begins as a token file does.
bool looks_like_token_file(std::string_view start);

// Writes a token file, which is a WholeFile.
class TokenFileWriter {
 public:
  // `vocabulary` from 1 to 2^31 - 1. `tokenizer_sha256` has 32 bytes or none.
  TokenFileWriter(Files& files, const std::string& path, std::int64_t vocabulary, std::string_view tokenizer_sha256);
  // Writes into an empty file that is open already, and is the caller's to remove; nothing is made durable.
  TokenFileWriter(std::unique_ptr<File> file, std::int64_t vocabulary, std::string_view tokenizer_sha256);

  // Throws kInvalid for an id that is not in the vocabulary.
  void append(std::span<const std::int32_t> ids);
  std::int64_t count() const { return header_.count; }
  void finish();

 private:
  WholeFile file_;
  TokenFileHeader header_;
  std::string buffer_;
};

// Immutable; any thread. The file may be removed while it is open.
class TokenFile {
 public:
  // Throws kNotFound, kDenied, kCorrupt.
  explicit TokenFile(const std::string& path);

  const TokenFileHeader& header() const { return header_; }
  std::int64_t count() const { return header_.count; }
  // Ids [first, first + into.size()), which must lie in the file. Throws kCorrupt for an id beyond the vocabulary.
  void read(std::int64_t first, std::span<std::int32_t> into) const;
  // Tells these ids from others of the same count: a SHA-256, in hex (fingerprint.h).
  std::string fingerprint() const;
  // The file's bytes, header included: to send it elsewhere.
  std::string_view bytes() const { return file_.bytes(); }

 private:
  const MappedFile file_;
  const TokenFileHeader header_;
};

}  // namespace athanor::data
