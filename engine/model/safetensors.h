// The safetensors format: a little-endian u64 with the length of a JSON header, the header
// {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, …, "__metadata__": {"KEY": "TEXT"}},
// then the tensors' bytes, row-major, without holes or overlaps. Nothing in it can run code; everything is checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/files.h"
#include "common/mapped_file.h"
#include "common/whole_file.h"

namespace athanor::model {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // as the file spells it: "F32", "BF16", "F16", "I64", …
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  // bytes, from the end of the header
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of their bytes
  std::map<std::string, std::string> metadata;
  std::uint64_t data_begin = 0;  // bytes from the start of the file
};

// Bytes of one element; 0 for a type that we do not know.
std::size_t safetensors_element_bytes(std::string_view dtype);

// Reads the header of a file of `file_bytes` bytes that starts with `start` (all of the header must be in it).
// `source` names the file in errors. Throws kCorrupt for whatever the format does not allow.
SafetensorsHeader parse_safetensors_header(std::string_view start, std::uint64_t file_bytes, std::string_view source);

// A file, mapped into memory: opening costs the header, reading costs what is read. Immutable; any thread.
class SafetensorsFile {
 public:
  // Throws kNotFound, kDenied, kCorrupt.
  explicit SafetensorsFile(const std::string& path);

  std::span<const SafetensorsEntry> entries() const { return header_.entries; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  // Null when there is none.
  const SafetensorsEntry* find(std::string_view name) const;
  // The tensor's bytes, good while the file object lives.
  std::string_view bytes(const SafetensorsEntry& entry) const;
  // Its elements as float32, from F32, F16, BF16 or F64. `into` must have room for exactly all of them.
  void read_floats(const SafetensorsEntry& entry, std::span<float> into) const;

 private:
  const MappedFile mapped_;
  SafetensorsHeader header_;
  std::map<std::string_view, const SafetensorsEntry*> by_name_;
};

// Writes PATH tensor by tensor, as a WholeFile.
class SafetensorsWriter {
 public:
  // What will be written, in this order; `begin` and `end` of the entries are set here.
  SafetensorsWriter(Files& files, std::string path, std::vector<SafetensorsEntry> entries,
                    const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

  // The next bytes. Tensors may be given in parts.
  void append(std::string_view bytes);
  void append(std::span<const float> values);
  // Rounded to the nearest bfloat16, ties to even: for an entry of type "BF16".
  void append_bfloat16(std::span<const float> values);
  // Likewise to half precision: for "F16".
  void append_float16(std::span<const float> values);
  // All bytes must have been given.
  void finish();

 private:
  void append_rounded(std::span<const float> values, std::uint16_t (*round)(float));

  WholeFile file_;
  std::uint64_t expected_ = 0;  // bytes of data
  std::uint64_t written_ = 0;
};

}  // namespace athanor::model
