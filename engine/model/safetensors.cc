#include "engine/model/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "common/error.h"
#include "common/json.h"
#include "engine/tensor/bfloat16.h"
#include "engine/tensor/half.h"

namespace athanor::model {

namespace {

constexpr std::uint64_t kHeaderBytesMax = 100'000'000;  // the format's own bound
constexpr std::size_t kRankMax = 8;
constexpr std::string_view kMetadata = "__metadata__";

constexpr std::pair<std::string_view, std::size_t> kElementBytes[] = {{"F64", 8},  {"I64", 8},     {"U64", 8},
                                                                      {"F32", 4},  {"I32", 4},     {"U32", 4},
                                                                      {"F16", 2},  {"BF16", 2},    {"I16", 2},
                                                                      {"U16", 2},  {"I8", 1},      {"U8", 1},
                                                                      {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};

template <typename... Args>
[[noreturn]] void damaged(std::string_view source, fmt::format_string<Args...> why, Args&&... args) {
  throw Error(ErrorKind::kCorrupt, "{} is no whole safetensors file: {}", std::string(source),
              fmt::format(why, std::forward<Args>(args)...));
}

std::uint64_t read_offset(const json::value& value, std::string_view name, std::string_view source) {
  boost::json::error_code failure;
  const auto offset = value.to_number<std::uint64_t>(failure);
  if (failure || value.is_double()) damaged(source, "the offsets of \"{}\" are no whole numbers", name);
  return offset;
}

SafetensorsEntry read_entry(std::string_view name, const json::value& value, std::string_view source) {
  if (!value.is_object()) damaged(source, "\"{}\" is described by no object", name);
  const json::object& fields = value.get_object();
  SafetensorsEntry entry;
  entry.name = name;
  const json::array* shape = nullptr;
  const json::array* offsets = nullptr;
  try {
    entry.dtype = json::get_string(fields, "dtype");
    shape = json::find_array(fields, "shape");
    offsets = json::find_array(fields, "data_offsets");
  } catch (const Error& error) {
    damaged(source, "\"{}\": {}", name, error.what());
  }
  if (shape == nullptr || offsets == nullptr || offsets->size() != 2) {
    damaged(source, "\"{}\" lacks its shape or its two data_offsets", name);
  }
  if (shape->size() > kRankMax) {
    damaged(source, "\"{}\" has {} dimensions; at most {} are allowed", name, shape->size(), kRankMax);
  }
  const std::uint64_t element = safetensors_element_bytes(entry.dtype);
  if (element == 0) damaged(source, "\"{}\" is of the unknown type \"{}\"", name, entry.dtype);
  std::uint64_t bytes = element;
  for (const json::value& item : *shape) {
    const std::uint64_t dimension = read_offset(item, name, source);
    if (dimension > INT64_MAX || __builtin_mul_overflow(bytes, dimension, &bytes)) {
      damaged(source, "the shape of \"{}\" is too large", name);
    }
    entry.shape.push_back(static_cast<std::int64_t>(dimension));
  }
  entry.begin = read_offset((*offsets)[0], name, source);
  entry.end = read_offset((*offsets)[1], name, source);
  if (entry.end < entry.begin || entry.end - entry.begin != bytes) {
    damaged(source, "\"{}\" occupies bytes {} to {}, but its shape and type take {}", name, entry.begin, entry.end,
            bytes);
  }
  return entry;
}

}  // namespace

std::size_t safetensors_element_bytes(std::string_view dtype) {
  for (const auto& [name, bytes] : kElementBytes) {
    if (name == dtype) return bytes;
  }
  return 0;
}

SafetensorsHeader parse_safetensors_header(std::string_view start, std::uint64_t file_bytes, std::string_view source) {
  std::uint64_t header_bytes = 0;
  if (file_bytes < sizeof header_bytes || start.size() < sizeof header_bytes) {
    damaged(source, "it ends before its header");
  }
  std::memcpy(&header_bytes, start.data(), sizeof header_bytes);
  if (header_bytes > kHeaderBytesMax) damaged(source, "its header would have {} bytes", header_bytes);
  if (header_bytes > file_bytes - sizeof header_bytes || header_bytes > start.size() - sizeof header_bytes) {
    damaged(source, "it ends inside its header of {} bytes", header_bytes);
  }
  SafetensorsHeader header;
  header.data_begin = sizeof header_bytes + header_bytes;
  json::value document;
  try {
    document = json::parse(start.substr(sizeof header_bytes, header_bytes), "its header");
  } catch (const Error& error) {
    damaged(source, "{}", error.what());
  }
  if (!document.is_object()) damaged(source, "its header is no JSON object");
  for (const auto& field : document.get_object()) {
    const std::string_view name(field.key().data(), field.key().size());
    if (name != kMetadata) {
      header.entries.push_back(read_entry(name, field.value(), source));
      continue;
    }
    if (!field.value().is_object()) damaged(source, "its metadata is no object");
    for (const auto& item : field.value().get_object()) {
      if (!item.value().is_string()) damaged(source, "its metadata holds more than text");
      header.metadata.emplace(item.key(), std::string(item.value().get_string()));
    }
  }
  std::sort(header.entries.begin(), header.entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  std::uint64_t at = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.begin != at) {
      damaged(source, "\"{}\" starts at byte {} where {} was expected", entry.name, entry.begin, at);
    }
    at = entry.end;
  }
  if (at != file_bytes - header.data_begin) {
    damaged(source, "its tensors take {} bytes, but {} follow the header: it was cut off or has grown", at,
            file_bytes - header.data_begin);
  }
  return header;
}

SafetensorsFile::SafetensorsFile(const std::string& path) : mapped_(path) {
  header_ = parse_safetensors_header(mapped_.bytes(), mapped_.bytes().size(), path);
  for (const SafetensorsEntry& entry : header_.entries) by_name_.emplace(entry.name, &entry);
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

std::string_view SafetensorsFile::bytes(const SafetensorsEntry& entry) const {
  return mapped_.bytes().substr(header_.data_begin + entry.begin, entry.end - entry.begin);
}

void SafetensorsFile::read_floats(const SafetensorsEntry& entry, std::span<float> into) const {
  const std::string_view from = bytes(entry);
  const std::size_t element = safetensors_element_bytes(entry.dtype);
  ATHANOR_ASSERT(from.size() == into.size() * element);
  // Elements of a mapped file need not be aligned: memcpy each.
  const auto convert = [&]<typename Stored>(Stored, auto to_float) {
    for (std::size_t i = 0; i < into.size(); ++i) {
      Stored stored;
      std::memcpy(&stored, from.data() + i * sizeof stored, sizeof stored);
      into[i] = to_float(stored);
    }
  };
  if (entry.dtype == "F32") {
    if (!from.empty()) std::memcpy(into.data(), from.data(), from.size());
  } else if (entry.dtype == "BF16") {
    convert(tensor::BFloat16(), [](tensor::BFloat16 upper) -> float { return upper; });
  } else if (entry.dtype == "F16") {
    convert(std::uint16_t{}, tensor::float_from_half);
  } else if (entry.dtype == "F64") {
    convert(double{}, [](double d) { return static_cast<float>(d); });
  } else {
    throw Error(ErrorKind::kInvalid, "reading {}: \"{}\" is of type {}, which is no floating-point type that we read",
                mapped_.path(), entry.name, entry.dtype);
  }
}

SafetensorsWriter::SafetensorsWriter(Files& files, std::string path, std::vector<SafetensorsEntry> entries,
                                     const std::map<std::string, std::string>& metadata)
    : file_(files, std::move(path)) {
  json::object header;
  if (!metadata.empty()) {
    json::object texts;
    for (const auto& [key, text] : metadata) texts[key] = text;
    header[kMetadata] = std::move(texts);
  }
  for (SafetensorsEntry& entry : entries) {
    std::uint64_t bytes = safetensors_element_bytes(entry.dtype);
    ATHANOR_ASSERT(bytes > 0);
    for (const std::int64_t dimension : entry.shape) bytes *= static_cast<std::uint64_t>(dimension);
    entry.begin = expected_;
    entry.end = expected_ += bytes;
    json::object fields{{"dtype", entry.dtype}, {"shape", json::array(entry.shape.begin(), entry.shape.end())}};
    fields["data_offsets"] = json::array{entry.begin, entry.end};
    ATHANOR_ASSERT(header.emplace(entry.name, std::move(fields)).second);
  }
  std::string text = json::serialize(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data starts aligned
  const std::uint64_t header_bytes = text.size();
  file_->append({reinterpret_cast<const char*>(&header_bytes), sizeof header_bytes});
  file_->append(text);
}

void SafetensorsWriter::append(std::string_view bytes) {
  ATHANOR_ASSERT(!file_.finished() && bytes.size() <= expected_ - written_);
  file_->append(bytes);
  written_ += bytes.size();
}

void SafetensorsWriter::append(std::span<const float> values) {
  append(std::string_view(reinterpret_cast<const char*>(values.data()), values.size_bytes()));
}

void SafetensorsWriter::append_bfloat16(std::span<const float> values) {
  append_rounded(values, [](float value) { return __builtin_bit_cast(std::uint16_t, tensor::BFloat16(value)); });
}

void SafetensorsWriter::append_float16(std::span<const float> values) {
  append_rounded(values, [](float value) { return tensor::half_from_float(value); });
}

void SafetensorsWriter::append_rounded(std::span<const float> values, std::uint16_t (*round)(float)) {
  std::array<std::uint16_t, 4096> rounded;
  for (std::size_t at = 0; at < values.size(); at += rounded.size()) {
    const std::size_t count = std::min(rounded.size(), values.size() - at);
    for (std::size_t i = 0; i < count; ++i) rounded[i] = round(values[at + i]);
    append(std::string_view(reinterpret_cast<const char*>(rounded.data()), count * sizeof(std::uint16_t)));
  }
}

void SafetensorsWriter::finish() {
  ATHANOR_ASSERT(written_ == expected_);
  file_.finish();
}

}  // namespace athanor::model
