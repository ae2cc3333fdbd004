#include "engine/model/gguf_blocks.h"

#include <cstring>

#include "common/error.h"
#include "engine/tensor/bfloat16.h"
#include "engine/tensor/half.h"
#include "engine/tensor/quantized.h"

namespace athanor::model {

namespace {

float half_at(const unsigned char* bytes) {
  return tensor::float_from_half(static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8));
}

void q4_k(const unsigned char* block, float* into) {
  const unsigned char* q = block + 16;
  for (int part = 0; part < 8; ++part, into += 32) {
    const Q4KPart of = q4_k_part(block, part);
    // Parts 2k and 2k + 1 share 32 bytes.
    for (int i = 0; i < 32; ++i) {
      into[i] = of.scale * static_cast<float>(q[part / 2 * 32 + i] >> part % 2 * 4 & 15) - of.least;
    }
  }
}

void q6_k(const unsigned char* block, float* into) {
  for (int i = 0; i < 256; ++i) into[i] = q6_k_scale(block, i / 16) * static_cast<float>(q6_k_value(block, i));
}

void each_block(std::string_view blocks, const GgufBlock& block, std::span<float> into,
                void (*convert)(const unsigned char*, float*)) {
  const auto* from = reinterpret_cast<const unsigned char*>(blocks.data());
  for (std::size_t i = 0; i < into.size(); i += block.elements, from += block.bytes) convert(from, into.data() + i);
}

}  // namespace

// The eight pairs of 6-bit s and t in 12 bytes: the first four whole in bytes 0 to 3 and 4 to 7; of the others, the low
// four bits in bytes 8 to 11 (s below, t above) and the high two in the top of the first four's bytes.
Q4KPart q4_k_part(const unsigned char* block, int part) {
  const unsigned char* scales = block + 4;
  const int low = part % 4;
  const int s = part < 4 ? scales[low] & 63 : (scales[8 + low] & 15) | (scales[low] >> 2 & 48);
  const int t = part < 4 ? scales[4 + low] & 63 : scales[8 + low] >> 4 | (scales[4 + low] >> 2 & 48);
  return {half_at(block) * static_cast<float>(s), half_at(block + 2) * static_cast<float>(t)};
}

float q6_k_scale(const unsigned char* block, int group) {
  return half_at(block + 208) * static_cast<float>(static_cast<signed char>(block[192 + group]));
}

// Halves of 128 elements, each four parts of 32: the low four bits of parts p and p + 2 share 32 bytes, the high two bits of
// all four share 32.
int q6_k_value(const unsigned char* block, int element) {
  const unsigned char* low = block;
  const unsigned char* high = block + 128;
  const int half = element / 128, part = element % 128 / 32, at = element % 32;
  return ((low[half * 64 + part % 2 * 32 + at] >> part / 2 * 4 & 15) | (high[half * 32 + at] >> part * 2 & 3) << 4) -
         32;
}

GgufBlock gguf_block(GgufType type) {
  switch (type) {
    case GgufType::kF32: return {1, 4};
    case GgufType::kF16: return {1, 2};
    case GgufType::kBF16: return {1, 2};
    case GgufType::kQ8_0: return {32, 34};
    case GgufType::kQ4_0: return {32, 18};
    case GgufType::kQ4_1: return {32, 20};
    case GgufType::kQ4_K: return {256, 144};
    case GgufType::kQ6_K: return {256, 210};
  }
  return {};
}

void dequantize(GgufType type, std::string_view blocks, std::span<float> into) {
  const GgufBlock block = gguf_block(type);
  ATHANOR_ASSERT(block.elements > 0 && into.size() % block.elements == 0);
  ATHANOR_ASSERT(blocks.size() == into.size() / block.elements * block.bytes);
  const std::span<const std::uint8_t> bytes(reinterpret_cast<const std::uint8_t*>(blocks.data()), blocks.size());
  switch (type) {
    case GgufType::kF32:
      if (!blocks.empty()) std::memcpy(into.data(), blocks.data(), blocks.size());
      return;
    case GgufType::kF16:
      return each_block(blocks, block, into, [](const unsigned char* from, float* to) { *to = half_at(from); });
    case GgufType::kBF16:
      return each_block(blocks, block, into, [](const unsigned char* from, float* to) {
        tensor::BFloat16 value;
        value.bits = static_cast<std::uint16_t>(from[0] | from[1] << 8);
        *to = value;
      });
    case GgufType::kQ8_0: return tensor::dequantize(tensor::BlockType::kQ8_0, bytes, into);
    case GgufType::kQ4_0: return tensor::dequantize(tensor::BlockType::kQ4_0, bytes, into);
    case GgufType::kQ4_1: return tensor::dequantize(tensor::BlockType::kQ4_1, bytes, into);
    case GgufType::kQ4_K: return each_block(blocks, block, into, q4_k);
    case GgufType::kQ6_K: return each_block(blocks, block, into, q6_k);
  }
}

}  // namespace athanor::model
