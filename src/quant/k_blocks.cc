#include <array>
#include <cstdint>

#include "quant/blocks.h"
#include "tensor/dtype.h"

namespace facet {
namespace {

constexpr int kSuper = 256;

float half(const std::byte* at) noexcept {
  return load_float(DType::kF16, at, 0);
}
int byte_at(const std::byte* at, int i) noexcept {
  return std::to_integer<int>(at[i]);
}

/// Scale and minimum of one of the 8 sub-blocks of q4_k and q5_k, 6 bits each.
struct ScaleMin {
  int scale;
  int minimum;
};

/// The 12 bytes hold, for j < 4: scale j in the low 6 bits of byte j, minimum j in those of byte j + 4; for
/// j ≥ 4: the low 4 bits of both in byte j + 4, the high 2 in the top of bytes j − 4 and j.
ScaleMin unpack_scale_min(const std::byte* packed, int j) noexcept {
  if (j < 4) return {byte_at(packed, j) & 63, byte_at(packed, j + 4) & 63};
  const int low = byte_at(packed, j + 4);
  return {(low & 15) | (byte_at(packed, j - 4) >> 6) << 4, (low >> 4) | (byte_at(packed, j) >> 6) << 4};
}

}  // namespace

void decode_q2_k(const std::byte* block, float* out) noexcept {
  const std::byte* scales = block;      // [16] scale in the low nibble, minimum in the high one
  const std::byte* codes = block + 16;  // [64]
  const float d = half(block + 80);
  const float m = half(block + 82);
  for (int i = 0; i < kSuper; ++i) {
    // 32 bytes hold 128 elements: element i of a quarter of 32 has its 2 bits at the quarter's position.
    const int q = byte_at(codes, i / 128 * 32 + i % 32) >> (i % 128 / 32 * 2) & 3;
    const int packed = byte_at(scales, i / 16);
    out[i] =
        d * static_cast<float>(packed & 15) * static_cast<float>(q) - m * static_cast<float>(packed >> 4);
  }
}

void decode_q3_k(const std::byte* block, float* out) noexcept {
  const std::byte* high = block;         // [32] the third bits: bit i/32 of byte i%32
  const std::byte* low = block + 32;     // [64] as q2_k's codes
  const std::byte* packed = block + 96;  // [12] 16 scales of 6 bits, offset 32
  const float d = half(block + 108);
  std::array<int, 16> scales{};
  for (int j = 0; j < 16; ++j) {
    const int nibble = byte_at(packed, j % 8) >> (j / 8 * 4) & 15;
    const int top = byte_at(packed, 8 + j % 4) >> (j / 4 * 2) & 3;
    scales[static_cast<size_t>(j)] = (nibble | top << 4) - 32;
  }
  for (int i = 0; i < kSuper; ++i) {
    const int two = byte_at(low, i / 128 * 32 + i % 32) >> (i % 128 / 32 * 2) & 3;
    const int third = byte_at(high, i % 32) >> (i / 32) & 1;
    const int q = (two | third << 2) - 4;
    out[i] = d * static_cast<float>(scales[static_cast<size_t>(i / 16)]) * static_cast<float>(q);
  }
}

void decode_q4_k(const std::byte* block, float* out) noexcept {
  const float d = half(block);
  const float m = half(block + 2);
  const std::byte* codes =
      block + 16;  // [128] 32 bytes for each pair of sub-blocks: low nibbles, high nibbles
  for (int j = 0; j < 8; ++j) {
    const ScaleMin s = unpack_scale_min(block + 4, j);
    const float scale = d * static_cast<float>(s.scale);
    const float minimum = m * static_cast<float>(s.minimum);
    for (int i = 0; i < 32; ++i) {
      const int q = byte_at(codes, j / 2 * 32 + i) >> (j % 2 * 4) & 15;
      out[32 * j + i] = scale * static_cast<float>(q) - minimum;
    }
  }
}

void decode_q5_k(const std::byte* block, float* out) noexcept {
  const float d = half(block);
  const float m = half(block + 2);
  const std::byte* high = block + 16;   // [32] the fifth bits: bit j of byte i for element i of sub-block j
  const std::byte* codes = block + 48;  // [128] as q4_k's
  for (int j = 0; j < 8; ++j) {
    const ScaleMin s = unpack_scale_min(block + 4, j);
    const float scale = d * static_cast<float>(s.scale);
    const float minimum = m * static_cast<float>(s.minimum);
    for (int i = 0; i < 32; ++i) {
      const int four = byte_at(codes, j / 2 * 32 + i) >> (j % 2 * 4) & 15;
      const int fifth = byte_at(high, i) >> j & 1;
      out[32 * j + i] = scale * static_cast<float>(four | fifth << 4) - minimum;
    }
  }
}

void decode_q6_k(const std::byte* block, float* out) noexcept {
  const std::byte* low = block;           // [128] 64 bytes for 128 elements: low nibbles, then high nibbles
  const std::byte* high = block + 128;    // [64] 32 bytes for 128 elements, 2 bits each as in q2_k
  const std::byte* scales = block + 192;  // [16] i8
  const float d = half(block + 208);
  for (int i = 0; i < kSuper; ++i) {
    const int part = i / 128;
    const int within = i % 128;
    const int four = byte_at(low, part * 64 + within % 64) >> (within / 64 * 4) & 15;
    const int two = byte_at(high, part * 32 + within % 32) >> (within / 32 * 2) & 3;
    const auto scale = static_cast<float>(static_cast<int8_t>(scales[i / 16]));
    out[i] = d * scale * static_cast<float>((four | two << 4) - 32);
  }
}

}  // namespace facet
