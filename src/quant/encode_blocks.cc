#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

#include "quant/blocks.h"
#include "tensor/dtype.h"

namespace facet {
namespace {

constexpr int kBlock = 32;
constexpr int kHalf = 16;

void store_half(float value, std::byte* at) noexcept {
  const uint16_t bits = f32_to_f16(value);
  std::memcpy(at, &bits, sizeof bits);
}

float inverse(float d) noexcept {
  return d == 0 ? 0 : 1 / d;
}

/// Truncates to 0..most; what is no number becomes 0.
unsigned to_code(float value, unsigned most) noexcept {
  if (!(value > 0)) return 0;
  return value >= static_cast<float>(most) ? most : static_cast<unsigned>(value);
}

/// The element of the largest magnitude, with its sign; the first of equals.
float extreme(std::span<const float, kBlock> in) noexcept {
  return *std::ranges::max_element(in, {}, [](float x) { return std::abs(x); });
}

/// Packs 4-bit codes: byte i holds element i low and element i + 16 high. Fifth bits go to `fifth`, bit by
/// element, unless it is null.
void pack(std::span<const unsigned, kBlock> codes, std::byte* low, std::byte* fifth) noexcept {
  uint32_t high_bits = 0;
  for (size_t i = 0; i < kHalf; ++i) {
    low[i] = static_cast<std::byte>((codes[i] & 15U) | (codes[i + kHalf] & 15U) << 4);
    high_bits |= (codes[i] >> 4 & 1U) << i | (codes[i + kHalf] >> 4 & 1U) << (i + kHalf);
  }
  if (fifth != nullptr) std::memcpy(fifth, &high_bits, sizeof high_bits);
}

/// Symmetric around `middle`: the extreme element gets code 0, so the scale has the opposite sign.
float symmetric_codes(std::span<const float, kBlock> in, unsigned middle,
                      std::span<unsigned, kBlock> codes) noexcept {
  const float d = extreme(in) / -static_cast<float>(middle);
  const float id = inverse(d);
  for (size_t i = 0; i < kBlock; ++i)
    codes[i] = to_code(in[i] * id + (static_cast<float>(middle) + 0.5F), 2 * middle - 1);
  return d;
}

struct Range {
  float scale;
  float minimum;
};

/// From the least element (code 0) to the greatest (code `most`).
Range range_codes(std::span<const float, kBlock> in, unsigned most,
                  std::span<unsigned, kBlock> codes) noexcept {
  const auto [least, greatest] = std::ranges::minmax_element(in);
  const float d = (*greatest - *least) / static_cast<float>(most);
  const float id = inverse(d);
  for (size_t i = 0; i < kBlock; ++i) codes[i] = to_code((in[i] - *least) * id + 0.5F, most);
  return {d, *least};
}

}  // namespace

void encode_q4_0(const float* in, std::byte* block) noexcept {
  unsigned codes[kBlock];
  store_half(symmetric_codes(std::span<const float, kBlock>(in, kBlock), 8, codes), block);
  pack(codes, block + 2, nullptr);
}

void encode_q4_1(const float* in, std::byte* block) noexcept {
  unsigned codes[kBlock];
  const Range range = range_codes(std::span<const float, kBlock>(in, kBlock), 15, codes);
  store_half(range.scale, block);
  store_half(range.minimum, block + 2);
  pack(codes, block + 4, nullptr);
}

void encode_q5_0(const float* in, std::byte* block) noexcept {
  unsigned codes[kBlock];
  store_half(symmetric_codes(std::span<const float, kBlock>(in, kBlock), 16, codes), block);
  pack(codes, block + 6, block + 2);
}

void encode_q5_1(const float* in, std::byte* block) noexcept {
  unsigned codes[kBlock];
  const Range range = range_codes(std::span<const float, kBlock>(in, kBlock), 31, codes);
  store_half(range.scale, block);
  store_half(range.minimum, block + 2);
  pack(codes, block + 8, block + 4);
}

void encode_q8_0(const float* in, std::byte* block) noexcept {
  const float d = std::abs(extreme(std::span<const float, kBlock>(in, kBlock))) / 127;
  const float id = inverse(d);
  store_half(d, block);
  for (int i = 0; i < kBlock; ++i) {
    const float rounded = std::round(in[i] * id);  // halves away from zero
    block[2 + i] = static_cast<std::byte>(std::isfinite(rounded) ? static_cast<int8_t>(rounded) : int8_t{0});
  }
}

}  // namespace facet
