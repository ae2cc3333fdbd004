#include "engine/model/pack_matrix.h"

#include <cstring>
#include <vector>

#include "common/error.h"
#include "engine/model/gguf_blocks.h"

namespace athanor::model {

namespace {

using tensor::Stored;
using tensor::StoredMatrix;

std::uint16_t u16_at(const unsigned char* from) { return static_cast<std::uint16_t>(from[0] | from[1] << 8); }

// No infinity and no NaN: products take neither from half precision.
bool finite_half(std::uint16_t half) { return (half & 0x7C00) != 0x7C00; }

// −8 · half, exactly; nothing when there is no such half.
std::optional<std::uint16_t> minus_eight_times(std::uint16_t half) {
  const int exponent = half >> 10 & 31;
  const auto sign = static_cast<std::uint16_t>(~half & 0x8000);
  std::uint32_t magnitude = half & 0x7FFF;
  if (exponent == 0) {
    // A subnormal: three times doubled; what grows out of its bits becomes the exponent.
    for (int i = 0; i < 3; ++i) magnitude = (magnitude & 0x7C00) == 0 ? magnitude << 1 : magnitude + 0x400;
  } else {
    magnitude += 3 << 10;
  }
  if (magnitude >= 0x7C00) return std::nullopt;
  return static_cast<std::uint16_t>(sign | magnitude);
}

std::int64_t source_row(const StoredTensor& stored, std::int64_t rows, std::int64_t row) {
  if (stored.paired_heads == 0) return row;
  const std::int64_t D = rows / stored.paired_heads, head = row / D, i = row % D;
  return head * D + (i < D / 2 ? 2 * i : 2 * (i - D / 2) + 1);
}

bool all_bfloat16(std::string_view floats) {
  for (std::size_t i = 0; i < floats.size(); i += 4) {
    if (floats[i] != 0 || floats[i + 1] != 0) return false;
  }
  return true;
}

// Whether every block's halves, at these places, are finite; and of Q4_0 whether its minimum has a half.
bool usable_blocks(GgufType type, std::string_view bytes) {
  const std::size_t block = gguf_block(type).bytes;
  for (std::size_t at = 0; at < bytes.size(); at += block) {
    const auto* from = reinterpret_cast<const unsigned char*>(bytes.data()) + at;
    if (!finite_half(u16_at(type == GgufType::kQ6_K ? from + 208 : from))) return false;
    if ((type == GgufType::kQ4_1 || type == GgufType::kQ4_K) && !finite_half(u16_at(from + 2))) return false;
    if (type == GgufType::kQ4_0 && !minus_eight_times(u16_at(from))) return false;
  }
  return true;
}

// The 32 q, of 4 bits each, of a row's block.
void put_nibbles(const unsigned char* q, std::uint8_t* row, std::size_t block) {
  for (std::size_t j = 0; j < 16; ++j) row[16 * block + j] = static_cast<std::uint8_t>(q[j] | q[j + 16] << 4);
}

template <class T>
void put(std::uint8_t* plane, std::size_t i, T value) {
  std::memcpy(plane + i * sizeof value, &value, sizeof value);
}

void pack_row(GgufType type, const unsigned char* from, std::size_t columns, std::uint8_t* row) {
  const std::size_t groups = columns / 32;
  if (type == GgufType::kQ8_0) {
    for (std::size_t b = 0; b < groups; ++b, from += 34) {
      std::memcpy(row + 32 * b, from + 2, 32);
      put(row + columns, b, u16_at(from));
    }
  } else if (type == GgufType::kQ4_0 || type == GgufType::kQ4_1) {
    std::uint8_t* const scales = row + columns / 2;
    std::uint8_t* const minima = scales + groups * 2;
    const std::size_t header = type == GgufType::kQ4_0 ? 2 : 4;
    for (std::size_t b = 0; b < groups; ++b, from += header + 16) {
      std::memcpy(row + 16 * b, from + header, 16);
      put(scales, b, u16_at(from));
      put(minima, b, type == GgufType::kQ4_0 ? *minus_eight_times(u16_at(from)) : u16_at(from + 2));
    }
  } else if (type == GgufType::kQ4_K) {
    std::uint8_t* const scales = row + columns / 2;
    std::uint8_t* const minima = scales + groups * 4;
    for (std::size_t b = 0; b < groups; b += 8, from += 144) {
      for (std::size_t part = 0; part < 8; ++part) {
        const Q4KPart found = q4_k_part(from, static_cast<int>(part));
        unsigned char q[32];
        for (std::size_t i = 0; i < 32; ++i) q[i] = from[16 + part / 2 * 32 + i] >> part % 2 * 4 & 15;
        put_nibbles(q, row, b + part);
        put(scales, b + part, found.scale);
        put(minima, b + part, -found.least);
      }
    }
  } else {
    ATHANOR_ASSERT(type == GgufType::kQ6_K);
    std::uint8_t* const scales = row + columns;
    for (std::size_t k = 0; k < columns; k += 256, from += 210) {
      for (std::size_t i = 0; i < 256; ++i) {
        row[k + i] = static_cast<std::uint8_t>(q6_k_value(from, static_cast<int>(i)));
      }
      for (std::size_t g = 0; g < 16; ++g) put(scales, k / 16 + g, q6_k_scale(from, static_cast<int>(g)));
    }
  }
}

}  // namespace

StoredMatrix packed_kind(const StoredTensor& stored, std::int64_t rows, std::int64_t columns) {
  StoredMatrix kind{.kind = Stored::kFloat32, .rows = rows, .columns = columns};
  switch (stored.type) {
    case GgufType::kF32:
      if (all_bfloat16(stored.bytes)) kind.kind = Stored::kBFloat16;
      return kind;
    case GgufType::kBF16: kind.kind = Stored::kBFloat16; return kind;
    case GgufType::kF16:
      for (std::size_t i = 0; i < stored.bytes.size(); i += 2) {
        if (!finite_half(u16_at(reinterpret_cast<const unsigned char*>(stored.bytes.data()) + i))) return kind;
      }
      kind.kind = Stored::kFloat16;
      return kind;
    default: break;
  }
  if (!usable_blocks(stored.type, stored.bytes)) return kind;
  const bool bytes = stored.type == GgufType::kQ8_0 || stored.type == GgufType::kQ6_K;
  kind.kind = bytes ? Stored::kBytes : Stored::kNibbles;
  kind.wide = stored.type == GgufType::kQ4_K || stored.type == GgufType::kQ6_K;
  kind.group = stored.type == GgufType::kQ6_K ? 16 : 32;
  return kind;
}

void pack_matrix(const StoredTensor& stored, const StoredMatrix& kind, std::span<std::uint8_t> into) {
  const auto rows = static_cast<std::size_t>(kind.rows), columns = static_cast<std::size_t>(kind.columns);
  const GgufBlock block = gguf_block(stored.type);
  const std::size_t from_bytes = columns / block.elements * block.bytes,
                    to_bytes = static_cast<std::size_t>(kind.row_bytes());
  ATHANOR_ASSERT(columns % block.elements == 0 && stored.bytes.size() == rows * from_bytes &&
                 into.size() == rows * to_bytes);
  for (std::size_t r = 0; r < rows; ++r) {
    const std::string_view from =
        stored.bytes.substr(static_cast<std::size_t>(source_row(stored, kind.rows, static_cast<std::int64_t>(r))) *
                                from_bytes,
                            from_bytes);
    std::uint8_t* const to = into.data() + r * to_bytes;
    if (kind.kind == Stored::kNibbles || kind.kind == Stored::kBytes) {
      pack_row(stored.type, reinterpret_cast<const unsigned char*>(from.data()), columns, to);
    } else if (kind.kind == Stored::kBFloat16 && stored.type == GgufType::kF32) {
      for (std::size_t k = 0; k < columns; ++k) std::memcpy(to + 2 * k, from.data() + 4 * k + 2, 2);
    } else if (kind.kind == Stored::kFloat32) {
      std::vector<float> floats(columns);
      dequantize(stored.type, from, floats);
      std::memcpy(to, floats.data(), to_bytes);
    } else {
      std::memcpy(to, from.data(), to_bytes);
    }
  }
}

}  // namespace athanor::model
