// The GGUF format, versions 2 and 3, as llama.cpp defines it. Little-endian:
//
//   "GGUF", u32 version, u64 tensors, u64 fields
//   fields    key, u32 type, value; a text is u64 length and bytes, an array u32 type, u64 length and values
//   tensors   name, u32 dimensions, u64 each (the fastest first), u32 type, u64 offset of its data
//   data      from the next multiple of the field general.alignment (32 if absent); offsets are multiples of it
//
// Nothing in it can run code; everything is checked.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/mapped_file.h"
#include "engine/model/gguf_blocks.h"

namespace athanor::model {

// Whole numbers of any width, and truth values, are int64; numbers of either precision double.
using GgufValue = std::variant<std::int64_t, double, std::string, std::vector<std::int64_t>, std::vector<double>,
                               std::vector<std::string>>;

struct GgufTensor {
  std::string name;
  std::vector<std::int64_t> shape;  // row-major, the fastest dimension last: (out, in)
  GgufType type{};
  std::uint64_t offset = 0;  // bytes from the start of the file
  std::uint64_t bytes = 0;
};

struct GgufHeader {
  std::uint32_t version = 0;
  std::map<std::string, GgufValue, std::less<>> fields;
  std::vector<GgufTensor> tensors;
};

// `file`: all of it. `source` names it in errors. Throws kCorrupt for whatever the format does not allow, kInvalid for
// versions and types that we do not read.
GgufHeader parse_gguf(std::string_view file, std::string_view source);

// A file, mapped into memory. Immutable; any thread.
class GgufFile {
 public:
  // Throws kNotFound, kDenied, kCorrupt, kInvalid.
  explicit GgufFile(const std::string& path);

  const std::string& path() const { return mapped_.path(); }
  std::span<const GgufTensor> tensors() const { return header_.tensors; }
  // Null when there is none.
  const GgufTensor* find(std::string_view name) const;
  std::string_view bytes(const GgufTensor& tensor) const { return mapped_.bytes().substr(tensor.offset, tensor.bytes); }
  // Its elements as float32. `into` must have room for exactly all of them.
  void read_floats(const GgufTensor& tensor, std::span<float> into) const {
    dequantize(tensor.type, bytes(tensor), into);
  }

  // A field as a type of GgufValue, or nothing when it is absent or of another; whole numbers serve as double too.
  template <typename T>
  std::optional<T> get(std::string_view key) const;
  // The same without a copy; null when absent or of another type.
  template <typename T>
  const T* find_field(std::string_view key) const {
    const auto found = header_.fields.find(key);
    return found == header_.fields.end() ? nullptr : std::get_if<T>(&found->second);
  }

 private:
  const MappedFile mapped_;
  GgufHeader header_;
  std::map<std::string_view, const GgufTensor*> by_name_;
};

template <typename T>
std::optional<T> GgufFile::get(std::string_view key) const {
  if (const T* value = find_field<T>(key)) return *value;
  if constexpr (std::is_same_v<T, double>) {
    if (const auto* whole = find_field<std::int64_t>(key)) return static_cast<double>(*whole);
  }
  return std::nullopt;
}

}  // namespace athanor::model
