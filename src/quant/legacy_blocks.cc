#include <cstdint>

#include "quant/blocks.h"
#include "tensor/dtype.h"

namespace facet {
namespace {

constexpr int kBlock = 32;
constexpr int kHalf = 16;

float half(const std::byte* at) noexcept {
  return load_float(DType::kF16, at, 0);
}

int low_nibble(std::byte b) noexcept {
  return std::to_integer<int>(b & std::byte{15});
}
int high_nibble(std::byte b) noexcept {
  return std::to_integer<int>(b >> 4);
}

/// The 32 fifth bits of a block, one each element.
uint32_t load_bits(const std::byte* at) noexcept {
  uint32_t bits = 0;
  std::memcpy(&bits, at, sizeof bits);
  return bits;
}

int bit(uint32_t bits, int i) noexcept {
  return static_cast<int>((bits >> i) & 1U);
}

}  // namespace

// In all 4- and 5-bit ones byte i holds element i in its low nibble and element i + 16 in its high one.

void decode_q4_0(const std::byte* block, float* out) noexcept {
  const float d = half(block);
  const std::byte* codes = block + 2;
  for (int i = 0; i < kHalf; ++i) {
    out[i] = d * static_cast<float>(low_nibble(codes[i]) - 8);
    out[i + kHalf] = d * static_cast<float>(high_nibble(codes[i]) - 8);
  }
}

void decode_q4_1(const std::byte* block, float* out) noexcept {
  const float d = half(block);
  const float m = half(block + 2);
  const std::byte* codes = block + 4;
  for (int i = 0; i < kHalf; ++i) {
    out[i] = d * static_cast<float>(low_nibble(codes[i])) + m;
    out[i + kHalf] = d * static_cast<float>(high_nibble(codes[i])) + m;
  }
}

void decode_q5_0(const std::byte* block, float* out) noexcept {
  const float d = half(block);
  const uint32_t fifth = load_bits(block + 2);
  const std::byte* codes = block + 6;
  for (int i = 0; i < kHalf; ++i) {
    out[i] = d * static_cast<float>((low_nibble(codes[i]) | bit(fifth, i) << 4) - 16);
    out[i + kHalf] = d * static_cast<float>((high_nibble(codes[i]) | bit(fifth, i + kHalf) << 4) - 16);
  }
}

void decode_q5_1(const std::byte* block, float* out) noexcept {
  const float d = half(block);
  const float m = half(block + 2);
  const uint32_t fifth = load_bits(block + 4);
  const std::byte* codes = block + 8;
  for (int i = 0; i < kHalf; ++i) {
    out[i] = d * static_cast<float>(low_nibble(codes[i]) | bit(fifth, i) << 4) + m;
    out[i + kHalf] = d * static_cast<float>(high_nibble(codes[i]) | bit(fifth, i + kHalf) << 4) + m;
  }
}

void decode_q8_0(const std::byte* block, float* out) noexcept {
  const float d = half(block);
  for (int i = 0; i < kBlock; ++i) out[i] = d * static_cast<float>(static_cast<int8_t>(block[2 + i]));
}

}  // namespace facet
