#include "engine/model/gguf.h"

#include <algorithm>
#include <cstring>

#include "common/error.h"

namespace athanor::model {

namespace {

constexpr std::size_t kRankMax = 4;  // the format's own bound
constexpr std::uint64_t kNameBytesMax = 1 << 16;
constexpr std::uint64_t kAlignmentMax = 1 << 20;

enum class FieldType : std::uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

template <typename... Args>
[[noreturn]] void damaged(std::string_view source, fmt::format_string<Args...> why, Args&&... args) {
  throw Error(ErrorKind::kCorrupt, "{} is no whole GGUF file: {}", std::string(source),
              fmt::format(why, std::forward<Args>(args)...));
}

// Takes values off the front of the file.
class Reader {
 public:
  Reader(std::string_view file, std::string_view source) : file_(file), source_(source) {}

  std::size_t at() const { return at_; }
  std::size_t left() const { return file_.size() - at_; }

  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view text() {
    const auto length = number<std::uint64_t>();
    if (length > left()) damaged(source_, "a text of {} bytes at byte {} goes past its end", length, at_);
    return take(static_cast<std::size_t>(length));
  }
  std::string_view name() {
    const std::string_view name = text();
    if (name.empty() || name.size() > kNameBytesMax) {
      damaged(source_, "a name of {} bytes ends at byte {}", name.size(), at_);
    }
    return name;
  }

  bool whole(FieldType type) const {
    return type != FieldType::kFloat32 && type != FieldType::kFloat64 && type != FieldType::kString;
  }
  std::int64_t integer(FieldType type) {
    switch (type) {
      case FieldType::kUint8: return number<std::uint8_t>();
      case FieldType::kInt8: return number<std::int8_t>();
      case FieldType::kUint16: return number<std::uint16_t>();
      case FieldType::kInt16: return number<std::int16_t>();
      case FieldType::kUint32: return number<std::uint32_t>();
      case FieldType::kInt32: return number<std::int32_t>();
      case FieldType::kBool: return number<std::uint8_t>() != 0;
      case FieldType::kInt64: return number<std::int64_t>();
      case FieldType::kUint64: {
        const auto value = number<std::uint64_t>();
        if (value > INT64_MAX) damaged(source_, "the number {} at byte {} is too large", value, at_);
        return static_cast<std::int64_t>(value);
      }
      default: damaged(source_, "a field has the unknown type {} at byte {}", static_cast<std::uint32_t>(type), at_);
    }
  }
  double real(FieldType type) { return type == FieldType::kFloat32 ? number<float>() : number<double>(); }

  GgufValue value(FieldType type) {
    if (type == FieldType::kArray) return array();
    if (type == FieldType::kString) return std::string(text());
    if (!whole(type)) return real(type);
    return integer(type);
  }

 private:
  std::string_view take(std::size_t bytes) {
    if (bytes > left()) damaged(source_, "it ends at byte {}, within its header", file_.size());
    at_ += bytes;
    return file_.substr(at_ - bytes, bytes);
  }
  // `make` each of the elements. Each takes at least a byte, and not all are trusted to be there: memory grows with what is.
  template <typename T, typename Make>
  std::vector<T> elements(std::uint64_t count, Make make) {
    std::vector<T> all;
    all.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(count, 1 << 20)));
    for (std::uint64_t i = 0; i < count; ++i) all.push_back(make());
    return all;
  }
  GgufValue array() {
    const auto type = static_cast<FieldType>(number<std::uint32_t>());
    const auto count = number<std::uint64_t>();
    if (type == FieldType::kArray) damaged(source_, "it has an array of arrays at byte {}, which no model has", at_);
    const std::uint64_t least = type == FieldType::kString ? 8 : 1;  // bytes an element
    if (count > left() / least) damaged(source_, "an array of {} elements at byte {} goes past its end", count, at_);
    if (type == FieldType::kString) return elements<std::string>(count, [&] { return std::string(text()); });
    if (!whole(type)) return elements<double>(count, [&] { return real(type); });
    return elements<std::int64_t>(count, [&] { return integer(type); });
  }

  const std::string_view file_;
  const std::string_view source_;
  std::size_t at_ = 0;
};

GgufTensor read_tensor(Reader& reader, std::string_view source) {
  GgufTensor tensor;
  tensor.name = reader.name();
  const auto rank = reader.number<std::uint32_t>();
  if (rank < 1 || rank > kRankMax) damaged(source, "\"{}\" has {} dimensions", tensor.name, rank);
  std::uint64_t count = 1;
  for (std::uint32_t i = 0; i < rank; ++i) {
    const auto size = reader.number<std::uint64_t>();
    if (size == 0 || size > INT64_MAX || __builtin_mul_overflow(count, size, &count)) {
      damaged(source, "\"{}\" has a dimension of {}", tensor.name, size);
    }
    tensor.shape.insert(tensor.shape.begin(), static_cast<std::int64_t>(size));
  }
  const auto type = reader.number<std::uint32_t>();
  const GgufBlock block = gguf_block(static_cast<GgufType>(type));
  if (block.elements == 0) {
    throw Error(ErrorKind::kInvalid,
                "{}: \"{}\" is of GGUF's type {}, which is not read; F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K and "
                "Q6_K are: take a file quantized to one of these",
                std::string(source), tensor.name, type);
  }
  tensor.type = static_cast<GgufType>(type);
  if (tensor.shape.back() % static_cast<std::int64_t>(block.elements) != 0) {
    damaged(source, "\"{}\" has rows of {} elements, but its type has blocks of {}", tensor.name, tensor.shape.back(),
            block.elements);
  }
  if (__builtin_mul_overflow(count / block.elements, block.bytes, &tensor.bytes)) {
    damaged(source, "\"{}\" is too large", tensor.name);
  }
  tensor.offset = reader.number<std::uint64_t>();
  return tensor;
}

// Offsets from the start of the file, within it, and none over another.
void place(GgufHeader& header, std::uint64_t header_bytes, std::uint64_t file_bytes, std::string_view source) {
  std::uint64_t alignment = 32;
  if (const auto found = header.fields.find("general.alignment"); found != header.fields.end()) {
    const std::int64_t* given = std::get_if<std::int64_t>(&found->second);
    if (given == nullptr || *given < 1 || static_cast<std::uint64_t>(*given) > kAlignmentMax) {
      damaged(source, "its alignment is none");
    }
    alignment = static_cast<std::uint64_t>(*given);
  }
  const std::uint64_t begin = (header_bytes + alignment - 1) / alignment * alignment;
  for (GgufTensor& tensor : header.tensors) {
    if (tensor.offset % alignment != 0) damaged(source, "\"{}\" is not aligned to {} bytes", tensor.name, alignment);
    if (begin > file_bytes || tensor.offset > file_bytes - begin || tensor.bytes > file_bytes - begin - tensor.offset) {
      damaged(source, "the {} bytes of \"{}\" go past its end at byte {}: it was cut off", tensor.bytes, tensor.name,
              file_bytes);
    }
    tensor.offset += begin;
  }
  std::vector<const GgufTensor*> sorted;
  for (const GgufTensor& tensor : header.tensors) sorted.push_back(&tensor);
  std::ranges::sort(sorted, {}, [](const GgufTensor* tensor) { return tensor->offset; });
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i - 1]->offset + sorted[i - 1]->bytes > sorted[i]->offset) {
      damaged(source, "\"{}\" and \"{}\" overlap", sorted[i - 1]->name, sorted[i]->name);
    }
  }
}

}  // namespace

GgufHeader parse_gguf(std::string_view file, std::string_view source) {
  if (!file.starts_with("GGUF")) damaged(source, "it does not begin with \"GGUF\"");
  Reader reader(file, source);
  (void)reader.number<std::uint32_t>();
  GgufHeader header;
  header.version = reader.number<std::uint32_t>();
  if (header.version != 2 && header.version != 3) {
    throw Error(ErrorKind::kInvalid,
                "{} is GGUF version {}; 2 and 3 (of little-endian machines) are read: convert it with "
                "llama.cpp's present tools",
                std::string(source), header.version);
  }
  const auto tensors = reader.number<std::uint64_t>();
  const auto fields = reader.number<std::uint64_t>();
  constexpr std::uint64_t kLeastTensorBytes = 33, kLeastFieldBytes = 14;
  if (tensors > reader.left() / kLeastTensorBytes || fields > reader.left() / kLeastFieldBytes) {
    damaged(source, "it tells of {} tensors and {} fields, more than its {} bytes hold", tensors, fields, file.size());
  }
  for (std::uint64_t i = 0; i < fields; ++i) {
    const std::string key(reader.name());
    const auto type = static_cast<FieldType>(reader.number<std::uint32_t>());
    if (!header.fields.emplace(key, reader.value(type)).second) damaged(source, "it has the field \"{}\" twice", key);
  }
  std::map<std::string_view, int> names;
  header.tensors.reserve(static_cast<std::size_t>(tensors));
  for (std::uint64_t i = 0; i < tensors; ++i) {
    header.tensors.push_back(read_tensor(reader, source));
    if (names[header.tensors.back().name]++ > 0) {
      damaged(source, "it has the tensor \"{}\" twice", header.tensors.back().name);
    }
  }
  place(header, reader.at(), file.size(), source);
  return header;
}

GgufFile::GgufFile(const std::string& path) : mapped_(path), header_(parse_gguf(mapped_.bytes(), path)) {
  for (const GgufTensor& tensor : header_.tensors) by_name_.emplace(tensor.name, &tensor);
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

}  // namespace athanor::model
